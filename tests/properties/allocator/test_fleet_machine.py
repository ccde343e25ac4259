"""Whatever is late, doubled, lost or stopped halfway: one holder, nothing lost, nothing leaked.

Every step is asked of the memory store and of the scripts on a real server, whose answers must
be the same; after each, the fleet's books must add up.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from redis.asyncio import Redis

from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.domain.leases import (
    AcquireStatus,
    Claim,
    FencedBy,
    Lease,
    Step,
)
from services.allocator.durability import WriteGate
from shared.addresses import AddressState
from shared.ids import (
    AttachmentKey,
    ClusterName,
    EniId,
    Identity,
    Incarnation,
    NodeName,
    PodUid,
)
from tests.properties.allocator.fleet import (
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
from tests.support.lease_requests import NodeVoice, identity
from tests.support.lease_twins import Ask, all_of, comparable, empty, said, timeless
from tests.support.servers import RedisServer
from tests.support.state_machines import run_machine

NODES = (NodeName("node-1"), NodeName("10.0.0.2"))
PODS = ("web-0", "web-1")
ROW_MAX = 40  # older messages are never delivered after that
A_NODE = st.sampled_from(NODES)
A_POD = st.sampled_from(PODS)
A_FATE = st.sampled_from(["answered", "answered", "answered", "lost", "stalled"])


class FleetMachine(RuleBasedStateMachine):
    url: ClassVar[str]
    steps: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.redis = Redis.from_url(self.url)
        self.memory = MemoryLeases()
        self.real = RedisLeases(self.redis, ClusterName("test"), WriteGate())
        self.books = Books()
        self.number = 0
        self.made = 0  # names, nonces and addresses that were given out so far

    def teardown(self) -> None:
        self.loop.run(self.redis.aclose())
        self.loop.close()

    # The two stores, and the allocator that asks them.

    def both(self, ask: Ask) -> object:
        memory, real = (self.loop.run(said(ask, store)) for store in (self.memory, self.real))
        assert comparable(real) == comparable(memory)
        return memory

    def step(self, ask: Ask, *, is_stalled: bool = False) -> Step[Any] | None:
        """The store's step and its journaling, unless the allocator stalls in between."""
        answer = self.both(ask)
        if not isinstance(answer, Step):
            return None
        if answer.lease is not None and not answer.is_journaled and not is_stalled:
            self.journal(answer.lease)
        return answer

    def journal(self, lease: Lease) -> None:
        self.books.write_journal(lease)
        self.both(lambda store: store.journaled([lease]))

    def leases(self) -> dict[Identity, Lease]:
        return {lease.identity: lease for lease in self.loop.run(all_of(self.memory))}

    def new(self) -> int:
        self.made += 1
        return self.made

    @initialize()
    def begin(self) -> None:
        self.loop.run(empty(self.redis))
        self.open_epoch(is_rebuild=False)
        for node in NODES:
            self.books.agents[node] = Agent(node, NodeVoice(node, Incarnation(0)))
            self.start_agent(node)
            for _ in range(3):
                self.assign(node)

    # Pods and their agents.

    @rule(node=A_NODE, pod=A_POD, is_bare=st.sampled_from([False, False, True]))
    def start_pod(self, node: NodeName, pod: str, is_bare: bool) -> None:
        key = AttachmentKey("berth", f"s{self.new()}", "eth0")
        uid = PodUid(f"uid-{self.new()}")
        asked = ask(self.books.agents[node], identity(pod), key, uid, is_bare=is_bare)
        if asked is not None:
            self.send(asked)

    @rule(data=st.data(), node=A_NODE)
    def end_pod(self, data: st.DataObject, node: NodeName) -> None:
        agent = self.books.agents[node]
        living = [it for it in agent.attachments.values() if not it.is_ended]
        if not living:
            return
        end(data.draw(st.sampled_from(living)))

    @rule(data=st.data(), node=A_NODE)
    def say_again(self, data: st.DataObject, node: NodeName) -> None:
        agent = self.books.agents[node]
        unsettled = [
            it
            for it in agent.attachments.values()
            if it.phase in (Phase.ASKING, Phase.RELEASING)
        ]
        self.send(say(agent, data.draw(st.sampled_from(unsettled)) if unsettled else None))

    @rule(node=A_NODE)
    def start_agent(self, node: NodeName) -> None:
        """Its next life: its book is as it was, its open questions are asked anew."""
        agent = self.books.agents[node]
        nonce, last = f"start-{self.new()}", agent.voice.incarnation
        given = self.both(lambda store: store.register(node, last=last, nonce=nonce))
        assert isinstance(given, int)
        for asked in live_again(agent, Incarnation(given)):
            self.send(asked)

    def send(self, message: Message) -> None:
        self.books.row = [*self.books.row, message][-ROW_MAX:]

    # The bus.

    @precondition(lambda self: self.books.row)
    @rule(fate=A_FATE)
    def deliver_the_newest(self, fate: str) -> None:
        self.deliver(self.books.row[-1], fate)

    @precondition(lambda self: self.books.row)
    @rule(data=st.data(), fate=A_FATE)
    def deliver_a_recent_one(self, data: st.DataObject, fate: str) -> None:
        self.deliver(data.draw(st.sampled_from(self.books.row[-5:])), fate)

    @precondition(lambda self: self.books.row)
    @rule(data=st.data(), fate=A_FATE)
    def deliver_any_that_was_ever_sent(self, data: st.DataObject, fate: str) -> None:
        self.deliver(data.draw(st.sampled_from(self.books.row)), fate)

    def deliver(self, message: Message, fate: str) -> None:
        """It stays in the row, to arrive again."""
        agent = self.books.agents[message.node]
        fence = FencedBy(
            node=message.node,
            incarnation=message.incarnation,
            sequence=message.sequence,
            lowest_unsettled=message.lowest,
        )
        is_heard = fate == "answered" and message.incarnation == agent.voice.incarnation
        if message.claim is not None:
            self.deliver_acquire(message, message.claim, fate, is_heard=is_heard)
        elif message.release is not None and message.key is not None:
            who, bind = message.release
            ended, is_stalled = str(message.key), fate == "stalled"
            step = self.step(
                lambda store: store.retain(fence, who, ended, bind), is_stalled=is_stalled
            )
            if step is not None and is_heard:
                if step.lease is not None and step.status == "retained":
                    self.books.acknowledge(step.lease)
                hear_released(agent, message, step.status)
        else:
            leased = self.both(
                lambda store: store.report(fence, [], [], message.withdrawn, is_whole=False)
            )
            if isinstance(leased, list) and is_heard:
                hear_reported(agent, message, leased)

    def deliver_acquire(
        self, message: Message, claim: Claim, fate: str, *, is_heard: bool
    ) -> None:
        step = self.step(lambda store: store.acquire(claim), is_stalled=fate == "stalled")
        if step is None or step.status is AcquireStatus.MUST_MOVE:
            return  # its answer comes after the move, to the question asked again
        if not is_heard:
            return
        if step.lease is not None and step.status in ("bound", "held"):
            self.books.acknowledge(step.lease)
        hear_acquired(self.books.agents[message.node], message, step.status, step.lease)

    # The allocators' own work, and the eni_manager's.

    @rule(is_stalled=st.booleans())
    def move(self, is_stalled: bool) -> None:
        for lease in self.leases().values():
            if lease.state is not AddressState.MOVING or lease.moving_to is None:
                continue
            kept = self.books.journal.get(lease.identity)
            if kept is None or kept.generation != lease.generation:
                self.journal(lease)  # the step is journaled before the cloud is asked
            self.books.assigned[lease.address] = lease.moving_to
            self.arrive(lease, lease.moving_to, is_stalled=is_stalled)

    def arrive(self, lease: Lease, there: NodeName, *, is_stalled: bool) -> None:
        eni = EniId(f"eni-{there}")
        self.step(
            lambda store: store.arrive(lease.identity, lease.generation, there, eni),
            is_stalled=is_stalled,
        )

    @rule(node=A_NODE, pod=A_POD)
    def take_over(self, node: NodeName, pod: str) -> None:
        """A pod whose object is gone, and whose release has not come: its node is elsewhere."""
        lease = self.leases().get(identity(pod))
        if lease is None or lease.node is None or lease.state is not AddressState.BOUND_FIXED:
            return
        holder = self.books.agents[lease.node]
        if any(it.address == lease.address for it in holder.live()) or lease.node == node:
            return
        agent = self.books.agents[node]
        claim = agent.voice.claim(pod)
        self.step(lambda store: store.take_over(lease.identity, lease.generation, claim))

    @rule(pod=A_POD, force=st.booleans(), is_stalled=st.booleans())
    def end_lease(self, pod: str, force: bool, is_stalled: bool) -> None:
        lease = self.leases().get(identity(pod))
        if lease is None:
            return
        step = self.step(
            lambda store: store.give_up(lease.identity, lease.generation, force=force),
            is_stalled=is_stalled,
        )
        if step is not None and step.status == "expired":
            self.books.acknowledged.pop(lease.identity, None)

    @rule(pod=A_POD, parts=st.sampled_from([1, 2, 3, 3]))
    def hand_over(self, pod: str, parts: int) -> None:
        """Reclaimed, buried, forgotten; a crash may come between any two."""
        lease = self.leases().get(identity(pod))
        if lease is None or lease.state is not AddressState.EXPIRED:
            return
        self.journal(lease)
        if parts >= 2:
            self.books.taken_back.add(lease.address)
            self.books.bury(lease)
        if parts == 3:
            self.both(lambda store: store.forget(lease.identity, lease.generation))

    @rule(
        node=A_NODE,
        change=st.sampled_from(["offer", "offer", "assign", "recall", "use_and_cool"]),
    )
    def change_stock(self, node: NodeName, change: str) -> None:
        if change == "offer":
            self.offer()
        else:
            getattr(self, change)(node)

    def offer(self) -> None:
        """What nobody has a lease on is the agent's where it is, unless a pod still uses it."""
        leased = {lease.address for lease in self.leases().values()}
        for address in sorted(self.books.taken_back - leased):
            agent = self.books.agents[self.books.assigned[address]]
            if any(it.address == address for it in agent.attachments.values()):
                continue
            self.books.taken_back.discard(address)
            if address not in agent.own:
                agent.idle.add(address)

    def assign(self, node: NodeName) -> None:
        if len(self.books.assigned) >= 12:
            return
        address = IPv4Address("10.0.0.10") + self.new()
        self.books.assigned[address] = node
        self.books.agents[node].idle.add(address)

    def recall(self, node: NodeName) -> None:
        agent = self.books.agents[node]
        if agent.idle:
            struck = min(agent.idle)
            agent.idle.remove(struck)
            del self.books.assigned[struck]

    def use_and_cool(self, node: NodeName) -> None:
        """An `Immediate` pod had an address: it cools; what cooled before is stock again."""
        agent = self.books.agents[node]
        agent.idle, rested = agent.idle | agent.cooling, agent.idle
        agent.cooling = {min(rested)} if rested else set()
        agent.idle -= agent.cooling

    @rule()
    def finish_the_journal(self) -> None:
        for lease in self.loop.run(self.memory.unjournaled(99)):
            self.journal(lease)

    # The store's own fate.

    @rule(is_rebuild=st.booleans())
    def open_epoch(self, is_rebuild: bool) -> None:
        """Adopted as it is, or emptied and rebuilt from what was journaled."""
        self.number += 1
        number, kept = self.number, [it for it in self.books.journal.values() if it is not None]
        for store in (self.memory, self.real):
            self.loop.run(_reopened(store, number, kept if is_rebuild else None))

    @invariant()
    def the_books_add_up(self) -> None:
        type(self).steps += 1
        if self.number:
            assert self.books.problems(self.leases()) == []

    @invariant()
    def both_stores_hold_the_same(self) -> None:
        if self.number:
            memory, real = (
                {timeless(lease) for lease in self.loop.run(all_of(store))}
                for store in (self.memory, self.real)
            )
            assert real == memory


async def _reopened(
    store: MemoryLeases | RedisLeases, number: int, kept: list[Lease] | None
) -> None:
    assert await store.claim(number, empty=kept is not None)
    if kept is not None:
        assert await store.restore(number, kept)
    assert await store.open(number)
    store.use_epoch(number)


def _run(url: str, *, examples: int, steps: int) -> int:
    """How many steps the fleet took."""

    class Machine(FleetMachine):
        pass

    Machine.url, Machine.steps = url, 0
    run_machine(Machine, examples=examples, steps=steps)
    return Machine.steps


def test_a_fleet_loses_nothing(redis_server: RedisServer) -> None:
    assert _run(redis_server.url, examples=40, steps=50) > 1_500


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_fleet_loses_nothing_in_twenty_thousand_steps(redis_server: RedisServer) -> None:
    assert _run(redis_server.url, examples=460, steps=50) >= 20_000
