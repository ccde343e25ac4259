"""One pod's address between two nodes: a world for the explorer.

The memory store's steps, the rules that authorise a move or a parking, and the fleet's books;
around them everything that may go wrong: messages late, twice and never answered, an allocator
that stalls between the store and the journal, cloud calls in flight after their caller died, an
emptied store, an older one put back, two that recover at once and may stop anywhere.
"""

from __future__ import annotations

from collections.abc import Coroutine, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any, Final, NamedTuple, Self, TypeVar

from services.allocator.adapters.memory_books import Books as StoreBooks
from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.domain.leases import (
    NOWHERE,
    AcquireStatus,
    FencedBy,
    Lease,
    Step,
)
from services.eni_manager.domain.moves import (
    FixedLease,
    Move,
    Parking,
    check_authorised,
    check_parking,
)
from shared.addresses import AddressState
from shared.errors import BerthError
from shared.ids import AttachmentKey, EniId, Generation, Incarnation, NodeName, PodUid
from tests.support.lease_requests import NodeVoice, attachment, identity

from .explorer import Choice
from .fleet import (
    SUBNET,
    Agent,
    Books,
    Message,
    Phase,
    ask,
    end,
    hear_acquired,
    hear_released,
    hear_reported,
    live_again,
    say,
)

ONE, TWO = NodeName("node-1"), NodeName("node-2")
WHO: Final = identity("web-0")
FATES: Final = ("heard", "lost", "stalled")
_FLIGHTS_MAX: Final = 2
_FATE_OF_THE_STORE: Final = frozenset(
    {"empty_store", "take_snapshot", "put_snapshot_back", "begin_recovery", "recover"}
)

T = TypeVar("T")


def noon() -> datetime:
    return datetime(2026, 1, 1, 12, tzinfo=UTC)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a store in memory answers: it waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as answered:
        found: T = answered.value
        return found
    coroutine.close()
    raise AssertionError("a store in memory does not wait")


class ExploredLeases(MemoryLeases):
    def __init__(self) -> None:
        super().__init__(noon)

    def likeness(self) -> Hashable:
        books, server = self._books, self._server
        is_known = books.opened_on == server, books.claimed_on == server
        return likeness_of(books), is_known, self._number


def likeness_of(books: StoreBooks) -> Hashable:
    marks = sorted(
        (node, mark.incarnation, mark.low, tuple(sorted(mark.ended.items())))
        for node, mark in books.marks.items()
    )
    return (
        (books.number, books.counter, books.claim),
        tuple(books.fixed.values()),
        tuple(books.unjournaled.items()),
        tuple(marks),
        tuple(sorted(books.gone)),
    )


class Flight(NamedTuple):
    """A call to the cloud that moves the address, sent and not yet over."""

    source: NodeName
    destination: NodeName


class Stalled(NamedTuple):
    """A step of the store whose allocator sleeps before the journal."""

    step: Step[Any]
    epoch: int
    message: Message | None


@dataclass(slots=True)
class Recoverer:
    """An allocator that opens an epoch: which, and how far it has come."""

    number: int
    highest: Generation
    stage: str = "look"
    is_whole: bool = False


@dataclass(slots=True)
class Budget:
    """How often each of these may happen, in one way through the world."""

    pods: int = 0
    words: int = 0  # what an agent says of itself, unasked
    agent_restarts: int = 0
    moves: int = 0
    take_overs: int = 0
    parkings: int = 0
    ends: int = 0
    gone_nodes: int = 0
    losses: int = 0  # of the store
    recoverers: int = 0


@dataclass(slots=True)
class Corner:
    """The world. `step_taken`: from which state to which the lease went by the last choice."""

    budget: Budget
    store: ExploredLeases = field(default_factory=ExploredLeases)
    books: Books = field(default_factory=Books)
    row: frozenset[Message] = frozenset()
    orders: frozenset[Lease] = frozenset()  # moving steps that the eni_manager was told
    arrivals: frozenset[Lease] = frozenset()  # of them those that it has answered
    flights: tuple[Flight, ...] = ()
    stalled: tuple[Stalled, ...] = ()
    epoch: int = 1  # the journal's record
    is_epoch_open: bool = True
    recoverers: list[Recoverer] = field(default_factory=list)
    snapshot: StoreBooks | None = None
    gone: frozenset[NodeName] = frozenset()
    made: int = 0
    step_taken: tuple[AddressState | None, AddressState | None] | None = None

    @classmethod
    def new(cls, budget: Budget) -> Self:
        """Two nodes, an idle address on each, an open epoch."""
        world = cls(budget=budget)
        for claimed in (world.store.claim(1, empty=False), world.store.open(1)):
            assert at_once(claimed)
        world.store.use_epoch(1)
        for number, node in enumerate((ONE, TWO)):
            given = at_once(world.store.register(node, last=Incarnation(0), nonce="first"))
            agent = Agent(node, NodeVoice(node, given))
            address = IPv4Address("10.0.0.10") + number
            agent.idle.add(address)
            world.books.assigned[address] = node
            world.books.agents[node] = agent
        return world

    # What the explorer asks.

    def choices(self) -> Iterator[Choice]:
        yield from self._agents_choices()
        for message in self.row:
            for fate in FATES:
                yield Choice("deliver", (message, fate))
        for stalled in set(self.stalled):
            yield Choice("wake", (stalled,))
        if self.stalled:
            yield Choice("finish_the_journal")
        yield from self._eni_manager_choices()
        yield from self._lease_choices()
        yield from self._store_choices()

    def take(self, choice: Choice) -> None:
        before = self.state
        getattr(self, choice.what)(*choice.args)
        is_step = choice.what not in _FATE_OF_THE_STORE
        self.step_taken = (before, self.state) if is_step else None

    def likeness(self) -> Hashable:
        agents = tuple(
            (
                agent.voice.incarnation,
                agent.sequence,
                frozenset(agent.idle),
                frozenset(agent.promised),
                tuple(
                    (
                        (it.key, it.phase, it.sequence, it.candidate),
                        (it.address, it.generation, it.is_ended),
                    )
                    for it in sorted(agent.attachments.values(), key=lambda it: str(it.key))
                ),
            )
            for agent in self.books.agents.values()
        )
        return (
            self.store.likeness(),
            agents,
            tuple(self.books.assigned.items()),
            frozenset(self.books.taken_back),
            (tuple(self.books.journal.items()), tuple(self.books.ranks.items())),
            tuple(self.books.acknowledged.items()),
            (self.row, self.orders, self.arrivals, self.flights, self.gone),
            (self.epoch, self.is_epoch_open),
            tuple((it.step.lease, it.epoch, it.message) for it in self.stalled),
            tuple((it.number, it.highest, it.stage, it.is_whole) for it in self.recoverers),
            None if self.snapshot is None else likeness_of(self.snapshot),
            tuple(getattr(self.budget, name) for name in self.budget.__slots__),
        )

    def problems(self) -> list[str]:
        """What of the promises is broken; of the store only while its epoch is open."""
        found = [
            f"{each.address} is under a live pod of {agent.node}, and at the cloud elsewhere"
            for agent in self.books.agents.values()
            for each in agent.live()
            if each.address is not None and self.books.assigned.get(each.address) != agent.node
        ]
        if not self.is_open:
            return found + self.books.problems_between_agents()
        leases = {} if self.lease is None else {WHO: self.lease}
        return found + self.books.problems(leases)

    @property
    def lease(self) -> Lease | None:
        return at_once(self.store.find(WHO))

    @property
    def state(self) -> AddressState | None:
        return None if self.lease is None else self.lease.state

    @property
    def is_open(self) -> bool:
        store = at_once(self.store.epoch())
        is_one = store.number == self.epoch and store.is_same_server
        return self.is_epoch_open and is_one

    # Agents and their pods.

    def _agents_choices(self) -> Iterator[Choice]:
        for node, agent in self.books.agents.items():
            if node in self.gone:
                continue
            if self.budget.pods:
                yield Choice("start_pod", (node,))
            if self.budget.agent_restarts and self.is_open:
                yield Choice("restart_agent", (node,))
            for each in agent.attachments.values():
                if not each.is_ended:
                    yield Choice("end_pod", (node, each.key))
                if self.budget.words and each.phase is Phase.RELEASING:
                    yield Choice("say_of", (node, each.key))
            if self.budget.words and any(
                it.phase is Phase.REFUSED for it in agent.attachments.values()
            ):
                yield Choice("say_of", (node, None))

    def start_pod(self, node: NodeName) -> None:
        self.made += 1
        key, uid = attachment(f"s{self.made}"), PodUid(f"uid-{self.made}")
        asked = ask(self.books.agents[node], WHO, key, uid)
        if asked is not None:
            self.budget.pods -= 1
            self.row |= {asked}

    def end_pod(self, node: NodeName, key: AttachmentKey) -> None:
        end(self.books.agents[node].attachments[key])

    def say_of(self, node: NodeName, key: AttachmentKey | None) -> None:
        self.budget.words -= 1
        agent = self.books.agents[node]
        self.row |= {say(agent, None if key is None else agent.attachments[key])}

    def restart_agent(self, node: NodeName) -> None:
        self.budget.agent_restarts -= 1
        self.made += 1
        agent = self.books.agents[node]
        last, nonce = agent.voice.incarnation, f"start-{self.made}"
        given = at_once(self.store.register(node, last=last, nonce=nonce))
        self.row |= set(live_again(agent, given))

    # The bus, and an allocator behind it.

    def deliver(self, message: Message, fate: str) -> None:
        """It may arrive again."""
        fence = FencedBy(
            node=message.node,
            incarnation=message.incarnation,
            sequence=message.sequence,
            lowest_unsettled=message.lowest,
        )
        try:
            if message.claim is not None:
                self._step(at_once(self.store.acquire(message.claim)), fate, message)
            elif message.release is not None:
                who, bind = message.release
                step = at_once(self.store.retain(fence, who, str(message.key), bind))
                self._step(step, fate, message)
            else:
                report = self.store.report(fence, [], [], message.withdrawn, is_whole=False)
                leased = at_once(report)
                if fate == "heard" and self._is_heard(message):
                    hear_reported(self.books.agents[message.node], message, leased)
        except BerthError:
            return  # an error tells the agent nothing: it asks again

    def _step(self, step: Step[Any], fate: str, message: Message | None = None) -> None:
        """The store has taken it; the journal, then the answer."""
        if fate == "stalled" and not step.is_journaled:
            number = at_once(self.store.epoch()).number
            self.stalled = (*self.stalled, Stalled(step, number, message))
            return
        if self._journal(step, at_once(self.store.epoch()).number) and fate == "heard":
            self._hear(step, message)

    def _journal(self, step: Step[Any], epoch: int) -> bool:
        """Whether the lease stands there: stored while the record is the writer's own."""
        if step.lease is None or step.is_journaled:
            return True
        if not self.may_journal(epoch):
            return False
        self.books.write_journal(step.lease)
        at_once(self.store.journaled([step.lease]))
        return True

    def may_journal(self, epoch: int) -> bool:
        return epoch == self.epoch

    def wake(self, stalled: Stalled) -> None:
        """The allocator goes on where it stalled, whatever has become of the world."""
        left = list(self.stalled)
        left.remove(stalled)
        self.stalled = tuple(left)
        if self._journal(stalled.step, stalled.epoch):
            self._hear(stalled.step, stalled.message)

    def _hear(self, step: Step[Any], message: Message | None) -> None:
        if message is None or not self._is_heard(message):
            return
        agent = self.books.agents[message.node]
        if message.release is not None:
            if step.lease is not None and step.status == "retained":
                self._acknowledge_if_newest(step.lease)
            hear_released(agent, message, step.status)
        elif step.status is not AcquireStatus.MUST_MOVE:
            if step.lease is not None and step.status in ("bound", "held"):
                self.books.acknowledge(step.lease)
            hear_acquired(agent, message, step.status, step.lease)

    def _acknowledge_if_newest(self, lease: Lease) -> None:
        """An answer that was overtaken, by the end of the lease too, promises nothing."""
        if lease.generation >= self.books.ranks.get(WHO, lease.generation):
            self.books.acknowledge(lease)

    def _is_heard(self, message: Message) -> bool:
        """Its answer: by the life of the agent that has sent it."""
        is_there = message.node not in self.gone
        agent = self.books.agents[message.node]
        return is_there and message.incarnation == agent.voice.incarnation

    def finish_the_journal(self) -> None:
        """Another replica writes what one has left behind."""
        number = at_once(self.store.epoch()).number
        for lease in at_once(self.store.unjournaled(9)):
            step = Step(status=AcquireStatus.HELD, lease=lease, is_journaled=False)
            self._journal(step, number)

    # The eni_manager and the cloud.

    def _eni_manager_choices(self) -> Iterator[Choice]:
        lease = self.lease
        if self._may_order(lease):
            yield Choice("order", (lease,))
        for order in self.orders:
            if self.budget.moves and len(self.flights) < _FLIGHTS_MAX:
                yield Choice("call", (order,))
            if order not in self.arrivals and self._is_there(order):
                yield Choice("answer", (order,))
        for order in self.arrivals:
            for fate in FATES[1:]:
                yield Choice("arrive", (order, fate))
        for flight in set(self.flights):
            yield Choice("land", (flight,))
            yield Choice("expire_call", (flight,))

    def _may_order(self, lease: Lease | None) -> bool:
        if lease is None or lease.state is not AddressState.MOVING or lease in self.orders:
            return False
        return self.is_open and self.books.journal.get(WHO) == lease

    def order(self, lease: Lease) -> None:
        """The allocator has journaled the step: now the eni_manager is told."""
        self.orders |= {lease}

    def call(self, order: Lease) -> None:
        """The cloud is asked, if the lease as it is now authorises it."""
        try:
            self.check(order)
        except BerthError:
            return
        place = self.books.assigned[order.address]
        if place != order.moving_to and order.moving_to is not None:
            self.budget.moves -= 1
            self.flights = tuple(sorted((*self.flights, Flight(place, order.moving_to))))

    def check(self, order: Lease) -> None:
        now = self.lease
        seen = None if now is None else _as_the_eni_manager_sees(now)
        if order.moving_to == NOWHERE:
            eni, node = order.eni, order.node
            assert eni is not None, "what is parked has an ENI"
            assert node is not None, "what is parked has a node"
            check_parking(
                Parking(
                    identity=WHO,
                    address=order.address,
                    eni=eni,
                    node=node,
                    generation=order.generation,
                ),
                seen,
            )
            return
        assert order.moving_to is not None, "a moving lease goes somewhere"
        check_authorised(
            Move(
                identity=WHO,
                address=order.address,
                subnet=SUBNET,
                from_eni=order.eni,
                to_node=order.moving_to,
                generation=order.generation,
            ),
            seen,
        )

    def land(self, flight: Flight) -> None:
        """The call takes effect, if the address is where it takes it from."""
        self._over(flight)
        for address, place in self.books.assigned.items():
            if place == flight.source and self._is_leased(address):
                self.books.assigned[address] = flight.destination

    def _is_leased(self, address: IPv4Address) -> bool:
        return any(order.address == address for order in self.orders)

    def expire_call(self, flight: Flight) -> None:
        """Its signature is no more valid: it never takes effect."""
        self._over(flight)

    def _over(self, flight: Flight) -> None:
        left = list(self.flights)
        left.remove(flight)
        self.flights = tuple(left)

    def is_under_embargo(self, node: NodeName) -> bool:
        """A call in flight may yet take the address off there."""
        return any(flight.source == node for flight in self.flights)

    def _is_there(self, order: Lease) -> bool:
        there = order.moving_to
        assert there is not None, "a moving lease goes somewhere"
        is_at = self.books.assigned.get(order.address) == there
        return is_at and not self.is_under_embargo(there)

    def answer(self, order: Lease) -> None:
        """The cloud says that it is there; the answer may come late, and twice."""
        self.arrivals |= {order}

    def arrive(self, order: Lease, fate: str) -> None:
        """The allocator hears that answer."""
        there = order.moving_to
        assert there is not None, "a moving lease goes somewhere"
        try:
            if there == NOWHERE:
                self._step(at_once(self.store.parked(WHO, order.generation)), fate)
                return
            eni = EniId(f"eni-{there}")
            self._step(at_once(self.store.arrive(WHO, order.generation, there, eni)), fate)
        except BerthError:
            return

    # What becomes of the lease besides.

    def _lease_choices(self) -> Iterator[Choice]:
        lease = self.lease
        if lease is None or not self.is_open:
            return
        rests = lease.state in (AddressState.RETAINED, AddressState.PARKED)
        for fate in FATES[1:]:
            if self.budget.take_overs and self._has_ended(lease):
                yield Choice("take_over", (TWO if lease.node == ONE else ONE, fate))
            if self.budget.parkings and lease.state is AddressState.RETAINED:
                yield Choice("park", (fate,))
            if self.budget.ends and rests:
                yield Choice("expire", (lease.generation, fate))
            if lease.node in self.gone:
                yield Choice("vacate", (fate,))
        if self.budget.gone_nodes and lease.node is not None and lease.node not in self.gone:
            yield Choice("lose_node", (lease.node,))
        if lease.state is AddressState.EXPIRED and self.books.journal.get(WHO) == lease:
            yield Choice("reclaim", (lease,))
        if lease.state is AddressState.EXPIRED and lease.address in self.books.taken_back:
            yield Choice("forget", (lease,))

    def _has_ended(self, lease: Lease) -> bool:
        """Its pod is gone, though nobody has said so to the allocator."""
        if lease.state is not AddressState.BOUND_FIXED or lease.node is None:
            return False
        holders = self.books.agents[lease.node].attachments.values()
        return not any(
            it.uid == lease.pod_uid and not it.is_ended and it.phase is not Phase.REFUSED
            for it in holders
        )

    def take_over(self, node: NodeName, fate: str) -> None:
        lease = self.lease
        assert lease is not None, "the choice was given for a lease"
        self.budget.take_overs -= 1
        claim = NodeVoice(node, Incarnation(1)).claim(WHO.name)
        self._step(at_once(self.store.take_over(WHO, lease.generation, claim)), fate)

    def park(self, fate: str) -> None:
        self.budget.parkings -= 1
        self._step(at_once(self.store.park(WHO, noon())), fate)

    def expire(self, generation: Generation, fate: str) -> None:
        self.budget.ends -= 1
        step = at_once(self.store.give_up(WHO, generation, force=False))
        if step.status == "expired":
            self.books.acknowledged.pop(WHO, None)
        self._step(step, fate)

    def reclaim(self, lease: Lease) -> None:
        """The eni_manager has the address now, and the journal a tombstone."""
        self.books.taken_back.add(lease.address)
        self.books.bury(lease)

    def forget(self, lease: Lease) -> None:
        at_once(self.store.forget(WHO, lease.generation))

    def lose_node(self, node: NodeName) -> None:
        """Its instance is gone for ever; the cloud holds what leases there had."""
        self.budget.gone_nodes -= 1
        agent = self.books.agents[node]
        if agent.promised:
            return  # in doubt: its answer decides
        self.gone |= {node}
        at_once(self.store.leave(node))
        agent.attachments.clear()
        for address in agent.idle | agent.cooling:
            self.books.assigned.pop(address, None)
        agent.idle.clear()
        agent.cooling.clear()
        for address, place in self.books.assigned.items():
            if place == node:
                self.books.assigned[address] = NOWHERE

    def vacate(self, fate: str) -> None:
        lease = self.lease
        assert lease is not None, "the choice was given for a lease"
        assert lease.node is not None, "the choice was given for one with a place"
        self._step(at_once(self.store.vacate(WHO, lease.generation, lease.node)), fate)

    # The store's own fate, and those who mend it.

    def _store_choices(self) -> Iterator[Choice]:
        if self.budget.losses:
            yield Choice("empty_store")
            if self.snapshot is None:
                yield Choice("take_snapshot")
            else:
                yield Choice("put_snapshot_back")
        if self.budget.recoverers and not self.is_open:
            yield Choice("begin_recovery")
        for number in range(len(self.recoverers)):
            yield Choice("recover", (number,))

    def empty_store(self) -> None:
        self.budget.losses -= 1
        self.store.empty()

    def take_snapshot(self) -> None:
        self.snapshot = self.store.copy()

    def put_snapshot_back(self) -> None:
        assert self.snapshot is not None, "the choice was given for one"
        self.budget.losses -= 1
        self.store.go_back(self.snapshot)
        self.snapshot = None

    def begin_recovery(self) -> None:
        """The claim in the journal shuts out every older writer."""
        self.budget.recoverers -= 1
        self.epoch = max(self.epoch, at_once(self.store.epoch()).number) + 1
        self.is_epoch_open = False
        highest = max(self.books.ranks.values(), default=Generation(0))
        self.recoverers.append(Recoverer(self.epoch, highest))

    def recover(self, which: int) -> None:
        """One step of it, in services/allocator/epochs.py's order; refused, it ends."""
        it = self.recoverers[which]
        following = getattr(self, f"_{it.stage}")(it)
        if following is None:
            del self.recoverers[which]
        else:
            it.stage = following

    def _look(self, it: Recoverer) -> str | None:
        if not at_once(self.store.claim(it.number, empty=False)):
            return None
        it.is_whole = self.is_whole(it.highest)
        return "open" if it.is_whole else "empty"

    def is_whole(self, highest: Generation) -> bool:
        """Whether the store knows every step that was ever journaled."""
        return at_once(self.store.epoch()).highest >= highest

    def _empty(self, it: Recoverer) -> str | None:
        return "restore" if at_once(self.store.claim(it.number, empty=True)) else None

    def _restore(self, it: Recoverer) -> str | None:
        kept = [lease for lease in self.books.journal.values() if lease is not None]
        return "open" if at_once(self.store.restore(it.number, kept)) else None

    def _open(self, it: Recoverer) -> str | None:
        return "publish" if at_once(self.store.open(it.number)) else None

    def _publish(self, it: Recoverer) -> str | None:
        if it.number != self.epoch:
            return None
        if it.is_whole:
            self.finish_the_journal()
        self.is_epoch_open = True
        self.store.use_epoch(it.number)
        return None


def _as_the_eni_manager_sees(lease: Lease) -> FixedLease:
    return FixedLease(
        address=lease.address,
        state=lease.state,
        generation=lease.generation,
        moving_to=None if lease.moving_to == NOWHERE else lease.moving_to,
    )
