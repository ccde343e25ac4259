"""Epochs over a real journal: which of the two books is believed, and who may say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client

from services.allocator.adapters.journal import JetStreamJournal
from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.config import AllocatorSettings
from services.allocator.domain.leases import Lease
from services.allocator.epochs import EPOCH_CONDITION, EpochKeeper
from shared.bus.connection import connect_bus
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.ids import Incarnation, NodeName
from shared.messages.subjects import journal_stream
from shared.telemetry.health import Readiness
from tests.support.allocators import CLUSTER, trusted
from tests.support.lease_requests import NodeVoice
from tests.support.servers import NatsServer

NODE = NodeName("node-1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class CutOffOnce(MemoryLeases):
    """Its connection ends while the first leases are put back."""

    def __init__(self) -> None:
        super().__init__()
        self._was_cut = False

    async def restore(self, number: int, leases: Sequence[Lease]) -> bool:
        if not self._was_cut:
            self._was_cut = True
            raise Unavailable("the store: connection closed by server")
        return await super().restore(number, leases)


class EmptiedBeforeItsClaim(MemoryLeases):
    """Somebody empties it between the look at it and the claim of it."""

    async def claim(self, number: int, *, empty: bool) -> bool:
        if self.is_to_be_emptied:
            self.is_to_be_emptied = False
            self.empty()
        return await super().claim(number, empty=empty)

    is_to_be_emptied = False


class Cluster:
    """One store, one journal; replicas come and go."""

    def __init__(self, bus: Client) -> None:
        self.bus = bus
        self.store = MemoryLeases()
        self.journal = self.another_journal("first")
        self._starts = 0

    def another_journal(self, writer: str) -> JetStreamJournal:
        return JetStreamJournal(self.bus, CLUSTER, writer=writer)

    def keeper(
        self, journal: JetStreamJournal | None = None, *, claim_timeout_s: float = 0.2
    ) -> EpochKeeper:
        return EpochKeeper(
            self.store,
            self.store,
            journal or self.journal,
            clock=SystemClock(),
            readiness=Readiness(EPOCH_CONDITION),
            claim_timeout_s=claim_timeout_s,
            check_store=trusted,
        )

    async def bind(self, pod: str, address: str, *, is_journaled: bool = True) -> Lease:
        self._starts += 1
        incarnation = await self.store.register(
            NODE, last=Incarnation(self._starts), nonce=f"start-{self._starts}"
        )
        step = await self.store.acquire(
            NodeVoice(NODE, incarnation).claim(pod, candidate=address)
        )
        assert step.lease is not None
        if is_journaled:
            await self.journal.write([step.lease])
            await self.store.journaled([step.lease])
        return step.lease

    async def stored(self) -> set[Lease]:
        return set((await self.store.leases(0, 10_000))[1])

    async def journaled(self) -> set[str]:
        return {lease.identity.name async for lease in self.journal.leases()}

    async def number(self) -> int:
        return (await self.store.epoch()).number


@pytest.fixture
async def cluster(nats_server: NatsServer) -> AsyncIterator[Cluster]:
    bus = await connect_bus(
        AllocatorSettings(cluster=CLUSTER, nats_url=nats_server.url), client_name="test"
    )
    try:
        cluster = Cluster(bus)
        await cluster.journal.ensure_stream()
        await cluster.keeper().open()
        yield cluster
    finally:
        await bus.close()


async def test_the_first_replica_opens_and_the_next_adopts(cluster: Cluster) -> None:
    await cluster.keeper(cluster.another_journal("second")).open()

    assert await cluster.number() == 1


async def test_replicas_that_start_together_open_one_epoch(cluster: Cluster) -> None:
    cluster.store.restart()

    await asyncio.gather(
        *(cluster.keeper(cluster.another_journal(name)).open() for name in "abc")
    )

    assert await cluster.number() == 2


async def test_a_store_that_is_emptied_as_it_is_claimed_is_rebuilt_all_the_same(
    cluster: Cluster,
) -> None:
    cluster.store = store = EmptiedBeforeItsClaim()
    await cluster.keeper().open()
    lease = await cluster.bind("web-0", "10.0.0.9")
    store.restart()
    store.is_to_be_emptied = True

    await cluster.keeper().open()

    [stored] = await cluster.stored()
    assert (stored.address, stored.generation) == (lease.address, lease.generation)


async def test_a_restart_with_its_data_keeps_leases_and_journals_the_rest(
    cluster: Cluster,
) -> None:
    leases = {
        await cluster.bind("web-0", "10.0.0.9"),
        await cluster.bind("web-1", "10.0.0.10", is_journaled=False),
    }
    cluster.store.restart()

    await cluster.keeper().open()

    assert await cluster.number() == 2
    assert await cluster.stored() == leases
    assert await cluster.journaled() == {"web-0", "web-1"}
    assert await cluster.store.unjournaled(10) == []


async def test_a_step_left_unjournaled_is_journaled_in_the_second_round_that_sees_it(
    cluster: Cluster,
) -> None:
    keeper = cluster.keeper()
    await keeper.open()
    await cluster.bind("web-0", "10.0.0.9", is_journaled=False)

    await keeper.finish_rounds()
    after_one_round = await cluster.journaled()
    await keeper.finish_rounds()

    assert after_one_round == set()  # whoever took it may be journaling it at this moment
    assert await cluster.journaled() == {"web-0"}
    assert await cluster.store.unjournaled(10) == []


async def test_a_step_that_went_on_between_two_rounds_is_left_to_its_replica(
    cluster: Cluster,
) -> None:
    keeper = cluster.keeper()
    await keeper.open()
    lease = await cluster.bind("web-0", "10.0.0.9", is_journaled=False)

    await keeper.finish_rounds()
    await cluster.store.give_up(lease.identity, lease.generation, force=True)
    await keeper.finish_rounds()

    assert await cluster.journaled() == set()


async def test_an_emptied_store_is_rebuilt_from_the_journal(cluster: Cluster) -> None:
    leases = {await cluster.bind(f"web-{n}", f"10.0.0.{10 + n}") for n in range(5)}
    cluster.store.empty()

    await cluster.keeper().open()

    assert {lease.identity: lease.generation for lease in await cluster.stored()} == {
        lease.identity: lease.generation for lease in leases
    }


async def test_an_older_snapshot_is_not_believed(cluster: Cluster) -> None:
    await cluster.bind("web-0", "10.0.0.9")
    snapshot = cluster.store.copy()
    await cluster.bind("web-1", "10.0.0.10")
    cluster.store.go_back(snapshot)

    await cluster.keeper().open()

    assert {lease.identity.name for lease in await cluster.stored()} == {"web-0", "web-1"}


async def test_an_emptied_journal_is_rewritten_from_the_store(cluster: Cluster) -> None:
    await cluster.bind("web-0", "10.0.0.9")
    await cluster.bind("web-1", "10.0.0.10")
    await cluster.bus.jetstream().purge_stream(journal_stream(CLUSTER))

    await cluster.keeper(cluster.another_journal("second")).open()

    assert await cluster.journaled() == {"web-0", "web-1"}
    assert len(await cluster.stored()) == 2


async def test_a_recoverer_that_died_is_followed_by_another(cluster: Cluster) -> None:
    lease = await cluster.bind("web-0", "10.0.0.9")
    cluster.store.empty()
    dead = await cluster.journal.put_epoch(
        2, is_open=False, at=NOW, after=await cluster.journal.epoch()
    )
    await cluster.store.claim(2, empty=True)

    await cluster.keeper().open()

    assert dead is not None
    assert await cluster.number() == 3
    assert {held.identity for held in await cluster.stored()} == {lease.identity}


async def test_a_recoverer_does_not_wait_for_a_claim_of_its_own_that_failed(
    cluster: Cluster,
) -> None:
    lease = await cluster.bind("web-0", "10.0.0.9")
    cluster.store = CutOffOnce()
    keeper = cluster.keeper(claim_timeout_s=3600)
    with pytest.raises(Unavailable):
        await keeper.open()

    async with asyncio.timeout(10):
        await keeper.open()

    assert await cluster.number() == 3
    assert {held.identity for held in await cluster.stored()} == {lease.identity}


async def test_a_rewrite_that_died_is_begun_again(cluster: Cluster) -> None:
    await cluster.bind("web-0", "10.0.0.9")
    await cluster.bind("web-1", "10.0.0.10")
    await cluster.bus.jetstream().purge_stream(journal_stream(CLUSTER))
    await cluster.journal.put_epoch(2, is_open=False, at=NOW, after=None, is_rewrite=True)

    await cluster.keeper(cluster.another_journal("second")).open()

    assert await cluster.journaled() == {"web-0", "web-1"}
