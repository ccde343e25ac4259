"""What was answered is there: after kill -9 of the store, and a power cut of its machine."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.allocator.adapters.lease_codec import decode_lease
from shared.store.keys import lease_key
from tests.support.allocators import CLUSTER, bus_client, running, settings
from tests.support.lease_storm import LeaseStorm
from tests.support.power import mortal_store
from tests.support.servers import NatsServer, RedisServer, redis_server

log = logging.getLogger(__name__)

KILLS = 50
CUTS = 8
NODES = 16


@asynccontextmanager
async def storm_on(nats: NatsServer, redis: RedisServer) -> AsyncIterator[LeaseStorm]:
    """Two replicas and a load that does not end."""
    here = settings(nats, redis)
    async with running(here), running(here), bus_client(nats) as (client, _):
        storm = LeaseStorm(client)
        async with storm.blowing(NODES):
            yield storm


async def held_by(server: RedisServer) -> dict[str, IPv4Address]:
    client = Redis.from_url(server.url)
    try:
        found = await client.hgetall(lease_key(CLUSTER, "fixed"))
    finally:
        await client.aclose()
    leases = [decode_lease(token, body) for token, body in found.items()]
    held = {lease.identity.name: lease.address for lease in leases}
    assert len(set(held.values())) == len(held), "two pods hold one address"
    return held


async def test_a_power_cut_takes_what_was_not_flushed(tmp_path: Path) -> None:
    with mortal_store(tmp_path, "--appendfsync", "no") as store:
        client = Redis.from_url(store.server.url)
        await client.set("flushed", 1)
        await client.config_set("appendfsync", "always")  # flushes what is there
        await client.set("also", 1)
        await client.config_set("appendfsync", "no")
        await client.set("not flushed", 1)

        lost = store.cut_power()
        await asyncio.to_thread(store.server.start)

        await client.connection_pool.disconnect()
        assert set(await client.keys()) == {b"flushed", b"also"}
        assert lost > 0
        await client.aclose()


async def test_answers_survive_a_power_cut_of_the_store(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    with mortal_store(tmp_path) as store:
        async with storm_on(nats_server, store.server) as storm:
            await storm.answered(200)
            before = dict(storm.acknowledged)
            store.cut_power()
            await _check_disk(store.server, before)
            await asyncio.to_thread(store.server.start)
            await storm.answered(50)

        missing = storm.acknowledged.items() - (await held_by(store.server)).items()
    assert missing == set()


@pytest.mark.long
async def test_answers_survive_many_power_cuts_of_the_store(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    rng = random.Random(1)
    lost = 0
    with mortal_store(tmp_path) as store:
        async with storm_on(nats_server, store.server) as storm:
            for _ in range(CUTS):
                await storm.answered(rng.randrange(20, 600))
                before = dict(storm.acknowledged)
                lost += store.cut_power()
                await _check_disk(store.server, before)
                await asyncio.to_thread(store.server.start)
            await storm.answered(50)

        missing = storm.acknowledged.items() - (await held_by(store.server)).items()
    assert missing == set()
    log.info("cuts %d, bytes lost %d, answers kept %d", CUTS, lost, len(storm.acknowledged))


@pytest.mark.long
async def test_answers_survive_fifty_kills_of_the_store(
    nats_server: NatsServer, redis_server: RedisServer
) -> None:
    rng = random.Random(2)
    async with storm_on(nats_server, redis_server) as storm:
        for _ in range(KILLS):
            await storm.answered(rng.randrange(5, 200))
            before = dict(storm.acknowledged)
            redis_server.kill()
            await _check_disk(redis_server, before)
            await asyncio.to_thread(redis_server.start)
        await storm.answered(50)

    missing = storm.acknowledged.items() - (await held_by(redis_server)).items()
    assert missing == set()
    log.info("kills %d, answers kept %d", KILLS, len(storm.acknowledged))


async def _check_disk(dead: RedisServer, acknowledged: dict[str, IPv4Address]) -> None:
    """The store alone has it all: another server reads its disk, and no journal helps."""
    with redis_server(files=dead.folder) as another:
        missing = acknowledged.items() - (await held_by(another)).items()
    assert missing == set()
