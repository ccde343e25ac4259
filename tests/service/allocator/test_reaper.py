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
from services.allocator.durable_steps import DurableSteps
from services.allocator.epochs import EPOCH_CONDITION, EpochKeeper
from services.allocator.reaper import Reaper, ReaperLimits
from shared.addresses import AddressState
from shared.bus.connection import connect_bus
from shared.ids import NodeName
from shared.messages.events import Event, LeaseEvent
from shared.telemetry.health import Readiness
from tests.support.allocators import CLUSTER
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import voice
from tests.support.servers import NatsServer

NODE = NodeName("node-1")
SPAN = timedelta(minutes=5)


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
        )
        self.events: list[LeaseEvent] = []
        self.steps = DurableSteps(self.store, self.journal, self, self.keeper)
        self.reaper = Reaper(
            self.store,
            self.steps,
            self.clocks,
            ReaperLimits(batch_max=64, retry=timedelta(seconds=10)),
        )

    def tell(self, event: Event, *, message_id: str) -> None:
        if isinstance(event, LeaseEvent):
            self.events.append(event)

    async def gone(self, by: NodeVoice, pod: str, at: str) -> Lease:
        step = await self.store.acquire(by.claim(pod, candidate=at, expires_after=SPAN))
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
    assert await world.states() == [AddressState.EXPIRED]


async def test_an_expiry_is_journaled_and_told(world: World, node: NodeVoice) -> None:
    await world.gone(node, "web-0", "10.0.0.9")

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
    limits = ReaperLimits(batch_max=2, retry=timedelta(seconds=10))
    reaper = Reaper(world.store, world.steps, world.clocks, limits)
    world.clocks.passed = SPAN

    await reaper.round()

    assert (await world.states()).count(AddressState.EXPIRED) == 2


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
    assert await world.states() == [AddressState.EXPIRED]
