"""Recoveries on real servers under load: nothing answered is lost, nothing is held twice."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.allocator.adapters.journal_stream import JournalStream
from shared.bus.connection import connect_bus
from shared.errors import ErrorCode
from shared.messages.leases import LEASE_ACQUIRE
from shared.messages.subjects import journal_epoch_subject, journal_lease_subject
from shared.store.keys import lease_key
from tests.service.allocator.test_power import held_by
from tests.support.allocators import (
    CLUSTER,
    Agent,
    bus_client,
    identity,
    running,
    settings,
)
from tests.support.lease_storm import LeaseStorm, acquired, register
from tests.support.servers import NatsServer, RedisServer, redis_server

NODES = 12


@asynccontextmanager
async def storm_on(
    nats: NatsServer, redis: RedisServer, **changes: object
) -> AsyncIterator[LeaseStorm]:
    here = settings(nats, redis, durability_interval_s=0.1, **changes)
    async with running(here), running(here), bus_client(nats) as (client, _):
        storm = LeaseStorm(client)
        async with storm.blowing(NODES):
            yield storm


async def _whole(storm: LeaseStorm, redis: RedisServer) -> None:
    held = await held_by(redis)  # it says too that no address is held twice
    assert storm.acknowledged.items() - held.items() == set()


async def test_a_store_restored_from_an_older_snapshot_is_completed(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    aof, snapshot = redis_server.folder / "appendonlydir", tmp_path / "snapshot"
    async with storm_on(nats_server, redis_server) as storm:
        await storm.answered(100)
        redis_server.kill()
        shutil.copytree(aof, snapshot)
        await asyncio.to_thread(redis_server.start)
        await storm.answered(400)

        redis_server.kill()
        shutil.rmtree(aof)
        shutil.copytree(snapshot, aof)
        await asyncio.to_thread(redis_server.start)
        await storm.answered(50)

    await _whole(storm, redis_server)


async def test_a_store_emptied_again_and_again_is_rebuilt(
    nats_server: NatsServer, redis_server: RedisServer, redis: Redis
) -> None:
    async with storm_on(nats_server, redis_server) as storm:
        for _ in range(3):
            await storm.answered(60)
            await redis.flushall()
        await storm.answered(60)

    await _whole(storm, redis_server)


async def test_an_empty_new_server_at_the_old_address_is_filled(
    nats_server: NatsServer, redis_server: RedisServer
) -> None:
    async with storm_on(nats_server, redis_server) as storm:
        await storm.answered(100)

        redis_server.kill()
        shutil.rmtree(redis_server.folder / "appendonlydir")
        await asyncio.to_thread(redis_server.start)
        await storm.answered(50)

    await _whole(storm, redis_server)


async def test_full_allocators_answer_at_once_and_every_caller_is_served_in_the_end(
    nats_server: NatsServer, redis_server: RedisServer
) -> None:
    # Twelve nodes ask two servers that take one request each: most hear "busy", and come again.
    before = _told_busy()
    async with (
        asyncio.timeout(60),
        storm_on(nats_server, redis_server, in_flight_max=1) as storm,
    ):
        await storm.answered(600)

    assert _told_busy() - before > 100, "the servers were never full"
    await _whole(storm, redis_server)


async def test_records_of_the_release_before_are_read_and_carried_on_under_load(
    nats_server: NatsServer,
) -> None:
    old = {f"old-{number}": f"12.0.0.{number}" for number in range(1, 21)}
    with redis_server() as server:
        await _write_version_1(nats_server, server, old)
        async with storm_on(nats_server, server) as storm:
            await storm.answered(30)
            wanted = {pod: IPv4Address(address) for pod, address in old.items()}
            assert await storm.broken(wanted) == {}
            async with bus_client(nats_server) as (client, _):
                agent = Agent(client, "old-node")
                await register(agent)
                again = await acquired(agent, "old-1", "13.0.0.1")
            assert str(again) == old["old-1"]

            redis = Redis.from_url(server.url)
            await redis.flushall()  # now it is the journal's records that are read
            await redis.aclose()
            await storm.answered(30)

        held = await held_by(server)
    assert {pod: str(held[pod]) for pod in old} == old


def _told_busy() -> float:
    busy = {"endpoint": LEASE_ACQUIRE.name, "outcome": ErrorCode.BUSY}
    found = REGISTRY.get_sample_value("berth_bus_request_seconds_count", busy)
    return found or 0.0


async def _write_version_1(
    nats: NatsServer, server: RedisServer, leases: dict[str, str]
) -> None:
    """A store and a journal as an allocator of that release left them, its epoch open."""
    redis = Redis.from_url(server.url)
    bus = await connect_bus(settings(nats, server), client_name="older")
    await JournalStream(bus, CLUSTER, timeout_s=5).ensure()
    run_id = (await redis.info("server"))["run_id"]
    epoch: dict[Any, Any] = {"number": 1, "run_id": run_id, "counter": len(leases), "claim": 1}
    await redis.hset(lease_key(CLUSTER, "epoch"), mapping=epoch)
    for number, (pod, address) in enumerate(leases.items(), start=1):
        token = identity(pod).token
        record = json.dumps(
            {
                "v": 1,
                "a": address,
                "s": "retained",
                "g": str((1 << 40) + number),
                "sn": "subnet-a",
                "n": "old-node",
                "e": "eni-old-node",
                "u": "uid-0",
                "c": "berth/s0/eth0",
                "t": 1_700_000_000_000,
            }
        )
        await redis.hset(lease_key(CLUSTER, "fixed"), token, record)
        await redis.hset(lease_key(CLUSTER, "addresses"), address, token)
        await bus.jetstream().publish(
            journal_lease_subject(CLUSTER, identity(pod)), record.encode()
        )
    body = {"v": 1, "number": 1, "is_open": True, "at": "2026-01-01T00:00:00+00:00"}
    await bus.jetstream().publish(journal_epoch_subject(CLUSTER), json.dumps(body).encode())
    await bus.close()
    await redis.aclose()
