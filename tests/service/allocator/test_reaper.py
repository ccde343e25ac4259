"""The reaper over a real journal: leases end when their time is over, and not before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from services.allocator.adapters.journal import JetStreamJournal
from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.config import AllocatorSettings
from services.allocator.domain.leases import Lease
from services.allocator.durability import WriteGate
from services.allocator.durable_steps import DurableSteps
from services.allocator.epochs import EPOCH_CONDITION, EpochKeeper
from services.allocator.parker import Parker
from services.allocator.reaper import Reaper, ReaperLimits
from shared.addresses import AddressState
from shared.bus.connection import connect_bus
from shared.errors import Unavailable
from shared.ids import NodeName
from shared.messages.events import Event, LeaseEvent
from shared.telemetry.health import Readiness
from tests.support.allocators import CLUSTER, trusted
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import voice
from tests.support.seen_workloads import SeenWorkloads
from tests.support.servers import NatsServer

NODE = NodeName("node-1")
SPAN = timedelta(minutes=5)
RETRY = timedelta(seconds=10)
LOOK = timedelta(seconds=30)
PARK_AFTER = timedelta(seconds=20)


class Clocks:
    """The machine's clock and the store's, moved by hand."""

    def __init__(self) -> None:
        self.passed = timedelta(0)
        self.store_ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + self.passed

    def monotonic_s(self) -> float:
        return self.passed.total_seconds()

    def store_now(self) -> datetime:
        return self.now() + self.store_ahead


class World:
    """A store, a journal, one replica's reaper, and whoever listens."""

    def __init__(self, bus: Client) -> None:
        self.clocks = Clocks()
        self.store = MemoryLeases(self.clocks.store_now)
        self.journal = JetStreamJournal(bus, CLUSTER, writer="first")
        self.keeper = EpochKeeper(
            self.store,
            self.store,
            self.journal,
            clock=self.clocks,
            readiness=Readiness(EPOCH_CONDITION),
            claim_timeout_s=1.0,
            check_store=trusted,
        )
        self.events: list[LeaseEvent] = []
        self.reclaimed: list[Lease] = []
        self.parked: list[Lease] = []
        self.journaled: list[list[AddressState]] = []  # when an ENI was to be parked
        self.is_eni_manager_away = False
        self.workloads = SeenWorkloads()
        self.steps = DurableSteps(self.store, self.journal, self, self.keeper, WriteGate())
        self.reaper = self.another_reaper()

    def another_reaper(self, *, batch_max: int = 64) -> Reaper:
        limits = ReaperLimits(
            batch_max=batch_max, retry=RETRY, look=LOOK, reclaim_timeout=timedelta(seconds=5)
        )
        parker = Parker(
            self.store,
            self.steps,
            self,
            self.clocks,
            after=PARK_AFTER,
            timeout=timedelta(seconds=5),
        )
        return Reaper(
            self.store,
            self.journal,
            self.steps,
            self,
            parker,
            self.workloads,
            self.clocks,
            limits,
        )

    async def park(self, lease: Lease, deadline: datetime) -> None:
        self.journaled.append([each.state async for each in self.journal.leases()])
        if self.is_eni_manager_away:
            raise Unavailable("nobody serves address.park")
        self.parked.append(lease)

    async def reclaim(self, lease: Lease, deadline: datetime) -> None:
        if self.is_eni_manager_away:
            raise Unavailable("nobody serves address.reclaim")
        self.reclaimed.append(lease)

    def tell(self, event: Event, *, message_id: str) -> None:
        if isinstance(event, LeaseEvent):
            self.events.append(event)

    async def gone(
        self, by: NodeVoice, pod: str, at: str, *, is_exclusive: bool = False
    ) -> Lease:
        step = await self.store.acquire(
            by.claim(pod, candidate=at, expires_after=SPAN, is_exclusive=is_exclusive)
        )
        assert step.lease is not None
        released = await self.store.retain(
            by.fence(), step.lease.identity, str(attachment("s1")), step.lease.generation
        )
        assert released.lease is not None
        return released.lease

    async def states(self) -> list[AddressState]:
        return [lease.state for lease in (await self.store.leases(0, 99))[1]]


@pytest.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[World]:
    bus = await connect_bus(
        AllocatorSettings(cluster=CLUSTER, nats_url=nats_server.url), client_name="test"
    )
    try:
        world = World(bus)
        await world.journal.ensure_stream()
        await world.keeper.open()
        yield world
        await world.steps.drain()
    finally:
        await bus.close()


@pytest.fixture
async def node(world: World) -> NodeVoice:
    return await voice(world.store, NODE)


async def test_a_lease_ends_when_its_time_is_over_and_not_before(
    world: World, node: NodeVoice
) -> None:
    await world.gone(node, "web-0", "10.0.0.9")

    world.clocks.passed = SPAN - timedelta(seconds=1)
    await world.reaper.round()
    before = await world.states()
    world.clocks.passed = SPAN
    await world.reaper.round()

    assert before == [AddressState.RETAINED]
    assert await world.states() == []
    assert [(lease.state, str(lease.address)) for lease in world.reclaimed] == [
        (AddressState.EXPIRED, "10.0.0.9")
    ]


async def test_an_expiry_is_journaled_and_told(world: World, node: NodeVoice) -> None:
    await world.gone(node, "web-0", "10.0.0.9")
    world.is_eni_manager_away = True

    world.clocks.passed = SPAN
    await world.reaper.round()

    [journaled] = [lease async for lease in world.journal.leases()]
    [told] = world.events
    assert journaled == await world.store.find(identity("web-0"))
    assert (told.verb, str(told.address), told.generation) == (
        "expired",
        "10.0.0.9",
        journaled.generation,
    )


async def test_a_look_ends_no_more_than_its_batch(world: World, node: NodeVoice) -> None:
    for number in range(5):
        await world.gone(node, f"web-{number}", f"10.0.0.{10 + number}")
    world.clocks.passed = SPAN

    await world.another_reaper(batch_max=2).round()

    assert await world.states() == [AddressState.RETAINED] * 3


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1)])
async def test_nothing_ends_while_the_stores_clock_is_not_ours(
    world: World, node: NodeVoice, ahead: timedelta
) -> None:
    await world.gone(node, "web-0", "10.0.0.9")
    world.clocks.passed = 2 * SPAN
    world.clocks.store_ahead = ahead

    await world.reaper.round()
    while_apart = await world.states()
    world.clocks.store_ahead = timedelta(0)
    await world.reaper.round()

    assert while_apart == [AddressState.RETAINED]


async def test_a_jump_that_ran_over_a_span_does_not_end_a_lease_early(
    world: World, node: NodeVoice
) -> None:
    await world.reaper.round()
    await world.gone(node, "web-0", "10.0.0.9")
    world.clocks.store_ahead = timedelta(hours=1)
    await world.reaper.round()
    world.clocks.store_ahead = timedelta(0)
    await world.reaper.round()

    world.clocks.passed = timedelta(minutes=59)
    await world.reaper.round()
    held = await world.states()
    world.clocks.passed = timedelta(minutes=61)
    await world.reaper.round()

    assert held == [AddressState.RETAINED]
    assert await world.states() == []


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
async def test_what_a_person_ended_is_handed_over_whatever_the_clocks_say(
    world: World, node: NodeVoice, ahead: timedelta
) -> None:
    await world.reaper.round()
    world.clocks.store_ahead = ahead
    kept = await world.gone(node, "web-0", "10.0.0.9")
    ended = await world.gone(node, "web-1", "10.0.0.10")
    await world.store.give_up(ended.identity, ended.generation, force=False)

    await world.reaper.round()

    assert [each.identity for each in world.reclaimed] == [ended.identity]
    assert (await world.store.leases(0, 99))[1] == [kept]


async def test_a_lease_that_nobody_takes_back_stays_expired_until_somebody_does(
    world: World, node: NodeVoice
) -> None:
    await world.gone(node, "web-0", "10.0.0.9")
    world.is_eni_manager_away = True
    world.clocks.passed = SPAN
    await world.reaper.round()
    await world.reaper.round()
    while_away = await world.states()

    world.is_eni_manager_away = False
    world.clocks.passed = SPAN + RETRY
    await world.reaper.round()

    assert while_away == [AddressState.EXPIRED]
    assert await world.states() == []
    assert [event.verb for event in world.events] == ["expired", "released"]


async def test_an_expiry_that_was_not_journaled_is_journaled_before_the_hand_over(
    world: World, node: NodeVoice
) -> None:
    lease = await world.gone(node, "web-0", "10.0.0.9")
    world.clocks.passed = SPAN
    await world.store.expire(lease.identity, world.clocks.store_now())
    world.is_eni_manager_away = True

    await world.another_reaper().round()

    [journaled] = [lease async for lease in world.journal.leases()]
    assert journaled.state is AddressState.EXPIRED


async def test_a_hand_over_that_stopped_after_its_tombstone_is_finished(
    world: World, node: NodeVoice
) -> None:
    lease = await world.gone(node, "web-0", "10.0.0.9")
    world.clocks.passed = SPAN
    step = await world.store.expire(lease.identity, world.clocks.store_now())
    assert step.lease is not None
    await world.journal.write([step.lease])
    await world.journal.bury(step.lease)

    await world.another_reaper().round()

    assert await world.states() == []
    assert [each async for each in world.journal.leases()] == []


async def test_a_rebuild_after_the_tombstone_does_not_bring_the_lease_back(
    world: World, node: NodeVoice
) -> None:
    lease = await world.gone(node, "web-0", "10.0.0.9")
    world.clocks.passed = SPAN
    step = await world.store.expire(lease.identity, world.clocks.store_now())
    assert step.lease is not None
    await world.journal.write([step.lease])
    await world.journal.bury(step.lease)

    world.store.empty()
    await world.keeper.open()

    assert await world.states() == []


async def test_a_rebuild_before_the_tombstone_hands_the_lease_over_again(
    world: World, node: NodeVoice
) -> None:
    lease = await world.gone(node, "web-0", "10.0.0.9")
    world.clocks.passed = SPAN
    step = await world.store.expire(lease.identity, world.clocks.store_now())
    assert step.lease is not None
    await world.journal.write([step.lease])

    world.store.empty()
    await world.keeper.open()
    await world.another_reaper().round()

    assert [each.generation for each in world.reclaimed] == [step.lease.generation]
    assert await world.states() == []


async def test_an_eni_leaves_its_node_once_its_pod_has_been_away_for_a_while(
    world: World, node: NodeVoice
) -> None:
    await world.gone(node, "web-0", "10.0.0.9", is_exclusive=True)
    await world.gone(node, "web-1", "10.0.0.8")

    await world.reaper.round()
    early = await world.states()
    world.clocks.passed = PARK_AFTER
    await world.reaper.round()

    assert early == [AddressState.RETAINED, AddressState.RETAINED]
    assert [str(lease.address) for lease in world.parked] == ["10.0.0.9"]
    assert await world.states() == [AddressState.PARKED, AddressState.RETAINED]
    assert AddressState.MOVING in world.journaled[0], "the step is journaled before the call"
    assert [event.verb for event in world.events] == ["parked"]
    assert {lease.state async for lease in world.journal.leases()} == {AddressState.PARKED}


async def test_a_parking_that_nobody_answered_is_finished_by_whoever_looks_next(
    world: World, node: NodeVoice
) -> None:
    await world.gone(node, "web-0", "10.0.0.9", is_exclusive=True)
    world.is_eni_manager_away = True
    world.clocks.passed = PARK_AFTER
    await world.reaper.round()
    halfway = await world.states()

    world.is_eni_manager_away = False
    world.clocks.passed += RETRY
    await world.another_reaper().round()

    assert halfway == [AddressState.MOVING]
    assert await world.states() == [AddressState.PARKED]


async def test_a_parked_lease_is_handed_over_with_its_eni(
    world: World, node: NodeVoice
) -> None:
    await world.gone(node, "web-0", "10.0.0.9", is_exclusive=True)
    world.clocks.passed = PARK_AFTER
    await world.reaper.round()

    world.clocks.passed = SPAN
    await world.reaper.round()

    assert await world.states() == []
    [lease] = world.reclaimed
    assert (lease.node, lease.eni) == (None, "eni-node-1")
