"""The hardest corners in every order: hand-over, moves and parking, the epoch's recovery.

What is broken on purpose must be found. And every step that the table of address states gives
a lease must have been taken: one that is added there fails here until a corner takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

import pytest

from services.allocator.domain.leases import AcquireStatus, ArriveStatus, Claim, FencedBy, Lease
from services.allocator.domain.leases import Step as Answer
from services.allocator.domain.ports import ReportedView
from shared.addresses import AddressState, IllegalStep, Owner, Step, after, owner_of
from shared.ids import EniId, Generation, Identity, NodeName

from .corner import ONE, TWO, Budget, Corner, ExploredLeases
from .explorer import explore
from .fleet import Message

Transition = tuple[AddressState | None, AddressState | None]
Start = Callable[[type[Corner]], Corner]
DEPTH, LONG_DEPTH = 5, 8
PLENTY = Budget(pods=9, words=9, moves=9, parkings=9)  # to come to where a corner begins


def bound(kind: type[Corner]) -> Corner:
    """Its pod runs on the first node."""
    world = kind.new(replace(PLENTY))
    world.start_pod(ONE)
    [asked] = world.row
    world.deliver(asked, "heard")
    assert world.state is AddressState.BOUND_FIXED
    return world


def leave(world: Corner, node: NodeName) -> Message:
    """The pod ends; its release is on the way."""
    [key] = world.books.agents[node].attachments
    world.end_pod(node, key)
    world.say_of(node, key)
    [released] = [it for it in world.row if it.release is not None and it.key == key]
    return released


def end(world: Corner, node: NodeName) -> None:
    """The pod ends, and the allocator hears of it."""
    world.deliver(leave(world, node), "heard")
    assert world.state is AddressState.RETAINED
    assert not world.books.agents[node].attachments


def retained(kind: type[Corner]) -> Corner:
    """Its pod ran on the first node and is gone; no message is late."""
    world = bound(kind)
    end(world, ONE)
    world.row = frozenset()
    return world


def bring(world: Corner, *, calls: int = 1) -> Lease:
    """The eni_manager is told, and asks the cloud; one call takes effect."""
    order = world.lease
    assert order is not None
    assert order.moving_to is not None
    world.order(order)
    for _ in range(calls):
        world.call(order)
    world.land(next(it for it in world.flights if it.destination == order.moving_to))
    assert world.books.assigned[order.address] == order.moving_to
    return order


def arrive(world: Corner, order: Lease) -> None:
    """The eni_manager answers, and the allocator hears it."""
    world.answer(order)
    world.arrive(order, "lost")


def ask_from(world: Corner, node: NodeName) -> None:
    """A pod of that name starts on another node than the lease is on."""
    before = world.row
    world.start_pod(node)
    [asked] = world.row - before
    world.deliver(asked, "heard")
    assert world.state is AddressState.MOVING


def parked(kind: type[Corner]) -> Corner:
    """Held by the cloud, on no node."""
    world = retained(kind)
    world.park("lost")
    arrive(world, bring(world))
    assert world.state is AddressState.PARKED
    return world


def came_back(kind: type[Corner]) -> Corner:
    """It was on the second node meanwhile, and runs on the first again."""
    world = coming_back(kind, calls=1)
    [order] = [it for it in world.orders if it.moving_to == ONE]
    arrive(world, order)
    for message in sorted(world.row, key=lambda it: it.sequence):
        if message.node == ONE and message.claim is not None:
            world.deliver(message, "heard")
    assert world.state is AddressState.BOUND_FIXED
    return world


def coming_back(kind: type[Corner], *, calls: int = 2) -> Corner:
    """Its address is on the first node again, and has not arrived; of the calls that brought it
    to the second one may be in flight still."""
    world = retained(kind)
    ask_from(world, TWO)
    arrive(world, bring(world, calls=calls))
    [asked] = world.row
    world.deliver(asked, "heard")
    end(world, TWO)
    ask_from(world, ONE)
    bring(world)
    assert len(world.flights) == calls - 1
    return world


def recovering(kind: type[Corner]) -> Corner:
    """The pod has ended; who was to write that down sleeps, the store was emptied, and an
    allocator has begun to build it anew."""
    world = bound(kind)
    world.deliver(leave(world, ONE), "stalled")
    world.budget.losses, world.budget.recoverers = 1, 1
    world.empty_store()
    world.begin_recovery()
    for _ in range(2):
        world.recover(0)
    assert [it.stage for it in world.recoverers] == ["restore"]
    return world


CORNERS: dict[str, tuple[Start, Budget]] = {
    "hand_over": (bound, Budget(pods=1, words=2, agent_restarts=1, moves=1, take_overs=1)),
    "moves": (retained, Budget(pods=2, words=1, moves=2, take_overs=1, ends=1, gone_nodes=1)),
    "parking": (retained, Budget(pods=1, words=1, moves=2, parkings=1, ends=1)),
    "parked": (parked, Budget(pods=1, words=1, moves=2, parkings=1, ends=1)),
    "came_back": (came_back, Budget(pods=1, words=1, moves=2, take_overs=1, gone_nodes=1)),
    "coming_back": (coming_back, Budget(pods=1, words=1, moves=2)),
    "recovery": (bound, Budget(pods=1, words=1, take_overs=1, losses=1, recoverers=2)),
    "recovering": (recovering, Budget(pods=1, words=1, losses=1, recoverers=2)),
}


def corner(name: str, kind: type[Corner] = Corner) -> Corner:
    start, budget = CORNERS[name]
    world = start(kind)
    world.budget = replace(budget)
    return world


def steps_of_a_lease() -> set[Transition]:
    """By the table. What the agent owns is no lease's; what is handed over is forgotten."""
    found: set[Transition] = {(AddressState.EXPIRED, None)}
    for state in AddressState:
        for step in Step:
            try:
                following = after(state, step)
            except IllegalStep:
                continue
            if step is Step.QUARANTINE or Owner.LEASE not in {
                owner_of(state),
                owner_of(following),
            }:
                continue
            found.add((state if owner_of(state) is Owner.LEASE else None, following))
    return found


def look_at_all(depth: int) -> set[Transition]:
    """Every corner to this depth: which steps the lease has taken."""
    taken: set[Transition] = set()

    def watch(world: Corner) -> None:
        if world.step_taken is not None and world.step_taken[0] != world.step_taken[1]:
            taken.add(world.step_taken)

    for name in CORNERS:
        explored = explore(corner(name), depth=depth, watch=watch)
        assert not explored.problems, f"{name}: {explored}"
        assert explored.worlds > depth
    return taken


def test_no_order_of_few_steps_breaks_a_promise() -> None:
    assert look_at_all(DEPTH) <= steps_of_a_lease()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_order_of_many_steps_breaks_a_promise() -> None:
    assert look_at_all(LONG_DEPTH) == steps_of_a_lease()


# Broken on purpose: each must be found by a corner.


class GivesToWhoeverAsks(ExploredLeases):
    def _acquire(self, claim: Claim) -> Answer[AcquireStatus]:
        lease = self._books.fixed.get(claim.identity)
        if lease is not None and lease.state is AddressState.BOUND_FIXED:
            return self._bind(lease, claim)
        return super()._acquire(claim)


class LooksAtNoCandidate(ExploredLeases):
    async def report(
        self,
        fence: FencedBy,
        views: Sequence[ReportedView],
        gone: Sequence[IPv4Address],
        candidates: Sequence[IPv4Address] = (),
        *,
        is_whole: bool,
    ) -> list[IPv4Address]:
        return await super().report(fence, views, gone, (), is_whole=is_whole)


class ArrivesInAnyGeneration(ExploredLeases):
    async def arrive(
        self, identity: Identity, generation: Generation, node: NodeName, eni: EniId
    ) -> Answer[ArriveStatus]:
        lease = self._books.fixed.get(identity)
        assert lease is not None
        return await super().arrive(identity, lease.generation, node, eni)


@dataclass(slots=True)
class NobodyIsAskedWhoHasIt(Corner):
    store: ExploredLeases = field(default_factory=GivesToWhoeverAsks)


@dataclass(slots=True)
class CandidatesComeBackUnseen(Corner):
    store: ExploredLeases = field(default_factory=LooksAtNoCandidate)


@dataclass(slots=True)
class LateArrivalsCount(Corner):
    store: ExploredLeases = field(default_factory=ArrivesInAnyGeneration)


@dataclass(slots=True)
class CallsUnasked(Corner):
    def check(self, order: Lease) -> None:
        return


@dataclass(slots=True)
class ForgetsWhatIsInFlight(Corner):
    def is_under_embargo(self, node: NodeName) -> bool:
        return False


@dataclass(slots=True)
class TrustsAnyStore(Corner):
    def is_whole(self, highest: Generation) -> bool:
        return True


@dataclass(slots=True)
class HearsZombies(Corner):
    def may_journal(self, epoch: int) -> bool:
        return True


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        (NobodyIsAskedWhoHasIt, "hand_over"),
        pytest.param(CandidatesComeBackUnseen, "moves", marks=pytest.mark.long),
        (LateArrivalsCount, "coming_back"),
        (CallsUnasked, "came_back"),
        (ForgetsWhatIsInFlight, "coming_back"),
        (TrustsAnyStore, "recovery"),
        (HearsZombies, "recovering"),
    ],
)
def test_what_is_broken_on_purpose_is_found(kind: type[Corner], where: str) -> None:
    explored = explore(corner(where, kind), depth=LONG_DEPTH)

    assert explored.problems, str(explored)
    assert explored.trace
