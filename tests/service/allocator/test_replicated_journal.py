"""A journal on three servers of the bus: whoever dies, what was answered is in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.allocator.adapters.journal import JetStreamJournal
from services.allocator.config import AllocatorSettings
from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import JournalEpoch
from shared.bus.connection import connect_bus
from shared.errors import EpochLost, Unavailable
from shared.messages.subjects import journal_stream
from tests.service.allocator.test_journal import NOW, step
from tests.service.allocator.test_power import held_by
from tests.support.allocators import CLUSTER, bus_client, running, settings
from tests.support.bus_clusters import BusCluster, bus_cluster
from tests.support.lease_storm import LeaseStorm
from tests.support.servers import RedisServer

pytestmark = pytest.mark.long

STREAM = journal_stream(CLUSTER)
NODES = 8


@pytest.fixture
def bus() -> Iterator[BusCluster]:
    with bus_cluster() as cluster:
        yield cluster


@asynccontextmanager
async def storm_on(bus: BusCluster, redis: RedisServer) -> AsyncIterator[LeaseStorm]:
    """Two replicas, and a load that does not end."""
    await bus.ready()
    here = settings(bus, redis, journal_replicas=3, durability_interval_s=0.2)
    async with running(here), running(here), bus_client(bus) as (client, _):
        while await client.find_replicas() != {"berth-allocator": 2}:
            continue  # one that is just starting would end with the leader
        storm = LeaseStorm(client)
        async with storm.blowing(NODES):
            yield storm


async def test_nothing_answered_is_lost_with_the_journals_leader(
    bus: BusCluster, redis_server: RedisServer, redis: Redis
) -> None:
    async with asyncio.timeout(120), storm_on(bus, redis_server) as storm:
        await storm.answered(100)
        for _ in range(2):
            leader = await bus.leader_of(STREAM)
            bus.servers[leader].kill()
            await storm.answered(100)
            assert await bus.leader_of(STREAM) != leader
            await asyncio.to_thread(bus.servers[leader].start)
        told = dict(storm.acknowledged)
        await redis.flushall()  # what there is now comes from the journal
        await storm.answered(50)
        assert await storm.broken(told) == {}

    held = await held_by(redis_server)  # it says too that no address is held twice
    assert storm.acknowledged.items() - held.items() == set()


async def test_a_writer_of_an_older_epoch_is_refused_by_the_next_leader(
    bus: BusCluster,
) -> None:
    await bus.ready()
    here = AllocatorSettings(cluster=CLUSTER, nats_url=bus.url)
    old, new = (
        await connect_bus(here, client_name="old"),
        await connect_bus(here, client_name="new"),
    )
    try:
        zombie = JetStreamJournal(old, CLUSTER, writer="old", replicas=3)
        journal = JetStreamJournal(new, CLUSTER, writer="new", replicas=3)
        await zombie.ensure_stream()
        first = await zombie.put_epoch(1, is_open=True, at=NOW, after=None)
        zombie.use_epoch(first)
        await zombie.write([step(1)])

        bus.servers[await bus.leader_of(STREAM)].kill()
        await bus.leader_of(STREAM)
        claim = await claimed(journal)
        journal.use_epoch(claim)

        assert await journal.highest() == step(1).generation
        with pytest.raises(EpochLost):
            await written(zombie, step(2, pod="late"))
        await written(journal, step(3, pod="web-1", epoch=2))
        names = {lease.identity.name async for lease in journal.leases()}
        assert names == {step(1).identity.name, "web-1"}
    finally:
        await old.close()
        await new.close()


async def claimed(journal: JetStreamJournal) -> JournalEpoch:
    """A leader that was just chosen may not answer yet."""
    async with asyncio.timeout(30):
        while True:
            try:
                claim = await journal.put_epoch(
                    2, is_open=True, at=NOW, after=await journal.epoch()
                )
            except Unavailable:
                await asyncio.sleep(0.05)
                continue
            assert claim is not None, "nobody else claims"
            return claim


async def written(journal: JetStreamJournal, lease: Lease) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await journal.write([lease])
            except Unavailable:
                await asyncio.sleep(0.05)
