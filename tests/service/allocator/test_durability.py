"""No step is answered that could not be kept: refused at once with the reason, and healed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.allocator.adapters.journal_stream import JournalStream
from services.allocator.durability import Cause
from services.allocator.main import serve
from shared.bus.connection import connect_bus
from shared.errors import BerthError, EpochLost, Refused, StorageFull, TryLater, Unavailable
from shared.messages.subjects import journal_stream
from shared.store.keys import lease_key
from shared.telemetry.metrics import ALLOCATOR_REFUSING
from tests.support.allocators import (
    CLUSTER,
    Agent,
    bus_client,
    running,
    settings,
)
from tests.support.servers import NatsServer, RedisServer
from tests.support.servers import nats_server as run_nats
from tests.support.servers import redis_server as run_redis
from tests.support.small_disk import small_disk

SOON = {"durability_interval_s": 0.05}
DISK_BYTES = 24 << 20


@dataclass
class World:
    agent: Agent
    stream: JournalStream

    async def eventually(self, pod: str, candidate: str) -> str:
        """Asked again until it is answered, as an agent does."""
        async with asyncio.timeout(30):
            while True:
                try:
                    return str((await self.agent.acquire(pod, candidate=candidate)).address)
                except TryLater as error:
                    if error.code == "not_registered":
                        await self.agent.register(nonce=f"again-{self.agent.incarnation}")
                    await asyncio.sleep(0.05)

    async def refused(self, kind: type[BerthError], reason: str) -> None:
        """Until a step is refused for that reason: the next look may be a moment away."""
        async with asyncio.timeout(30):
            number = 100
            while True:
                number += 1
                try:
                    await self.agent.acquire(f"more-{number}", candidate=f"10.0.1.{number}")
                except kind as error:
                    if reason in str(error):
                        return
                except TryLater:
                    pass
                await asyncio.sleep(0.05)


@asynccontextmanager
async def world_on(
    nats: NatsServer, redis: RedisServer, **changes: object
) -> AsyncIterator[World]:
    here = settings(nats, redis, **{**SOON, **changes})
    async with running(here), bus_client(nats) as (client, _):
        agent = Agent(client, "node-1")
        async with asyncio.timeout(20):
            while True:
                try:
                    await agent.register()
                    break
                except (EpochLost, Unavailable):
                    continue
        bus = await connect_bus(here, client_name="look")
        try:
            yield World(agent, JournalStream(bus, CLUSTER, timeout_s=5))
        finally:
            await bus.close()


@pytest.fixture
async def world(nats_server: NatsServer, redis_server: RedisServer) -> AsyncIterator[World]:
    async with world_on(nats_server, redis_server) as found:
        yield found


def alert(cause: Cause) -> float:
    return float(ALLOCATOR_REFUSING.labels(cause)._value.get())


async def nearly_filled(redis: Redis) -> None:
    """Until the allocator sees it: what a server uses falls and rises with its clients."""
    for _ in range(1000):
        if alert(Cause.STORE_FULL) == 1:
            return
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", int(used * 1.04))
        await asyncio.sleep(0.02)
    raise AssertionError("the allocator does not see that the store is full")


async def until(is_so: Callable[[], bool]) -> None:
    """Poll: neither a metric nor a server's end can be awaited."""
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to be so")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--appendonly", "no"), "appendonly 'no'"),
        (("--appendfsync", "everysec"), "appendfsync 'everysec'"),
        (("--no-appendfsync-on-rewrite", "yes"), "no-appendfsync-on-rewrite 'yes'"),
        (
            ("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"),
            "maxmemory-policy 'allkeys-lru'",
        ),
    ],
)
async def test_a_store_that_could_lose_an_answer_is_refused_at_start(
    nats_server: NatsServer, arguments: tuple[str, ...], reason: str
) -> None:
    with run_redis(*arguments) as redis, pytest.raises(Refused, match=reason):
        await serve(settings(nats_server, redis), asyncio.Event())


async def test_a_store_that_could_lose_an_answer_is_accepted_on_purpose(
    nats_server: NatsServer,
) -> None:
    with run_redis("--appendonly", "no") as redis:
        async with world_on(nats_server, redis, durability="memory") as world:
            assert await world.eventually("web-0", "10.0.0.10") == "10.0.0.10"


async def test_a_setting_changed_while_running_ends_every_step_until_it_is_back(
    world: World, redis: Redis
) -> None:
    await redis.config_set("appendfsync", "everysec")

    await world.refused(Unavailable, "appendfsync 'everysec'")
    assert alert(Cause.STORE_SETTINGS) == 1

    await redis.config_set("appendfsync", "always")
    await world.eventually("web-0", "10.0.0.10")
    assert alert(Cause.STORE_SETTINGS) == 0


async def test_a_store_at_its_memory_limit_refuses_new_leases_and_ends_old_ones(
    world: World, redis: Redis
) -> None:
    held = await world.agent.acquire("web-0", candidate="10.0.0.10")
    await nearly_filled(redis)
    before = await redis.hgetall(lease_key(CLUSTER, "fixed"))

    with pytest.raises(StorageFull, match="maxmemory"):
        await world.agent.acquire("web-1", candidate="10.0.0.11")

    assert await redis.hgetall(lease_key(CLUSTER, "fixed")) == before
    released = await world.agent.release("web-0", held.generation)
    assert released.release == "retained", "there is room for what makes nothing larger"
    await redis.config_set("maxmemory", 0)
    await world.eventually("web-1", "10.0.0.11")
    assert alert(Cause.STORE_FULL) == 0


async def test_a_step_that_the_full_store_itself_refuses_is_not_half_written(
    nats_server: NatsServer, redis_server: RedisServer, redis: Redis
) -> None:
    async with world_on(nats_server, redis_server) as world:
        held = await world.agent.acquire("web-0", candidate="10.0.0.10")
        await redis.config_set("maxmemory", 1)
        before = await redis.hgetall(lease_key(CLUSTER, "fixed"))

        with pytest.raises(StorageFull, match="maxmemory"):
            await world.agent.release("web-0", held.generation)

        assert await redis.hgetall(lease_key(CLUSTER, "fixed")) == before
        assert await redis.hlen(lease_key(CLUSTER, "unjournaled")) == 0


async def test_a_nearly_full_journal_refuses_new_leases_before_the_store_has_them(
    world: World, redis: Redis
) -> None:
    await world.agent.acquire("web-0", candidate="10.0.0.10")
    found = await world.stream.info()
    limit = int(found["state"]["bytes"] * 1.04)
    name = journal_stream(CLUSTER)
    await world.stream.ask(f"STREAM.UPDATE.{name}", found["config"] | {"max_bytes": limit})
    await until(lambda: alert(Cause.JOURNAL_FULL) == 1)

    with pytest.raises(StorageFull, match=f"of max_bytes {limit}"):
        await world.agent.acquire("web-1", candidate="10.0.0.11")

    assert await redis.hlen(lease_key(CLUSTER, "fixed")) == 1
    await world.stream.ask(f"STREAM.UPDATE.{name}", found["config"] | {"max_bytes": 1 << 30})
    await world.eventually("web-1", "10.0.0.11")
    assert alert(Cause.JOURNAL_FULL) == 0


async def test_a_journal_that_is_full_at_once_ends_every_step_until_it_takes_them(
    nats_server: NatsServer, redis_server: RedisServer
) -> None:
    # Nobody looks in time: the write itself finds it full.
    async with world_on(nats_server, redis_server, durability_interval_s=2) as world:
        found = await world.stream.info()
        name = journal_stream(CLUSTER)
        full = found["config"] | {"max_bytes": found["state"]["bytes"] + 1}
        await world.stream.ask(f"STREAM.UPDATE.{name}", full)

        with pytest.raises(StorageFull, match="maximum bytes"):
            await world.agent.acquire("web-0", candidate="10.0.0.10")
        with pytest.raises(StorageFull):
            await world.agent.acquire("web-1", candidate="10.0.0.11")

        await world.stream.ask(
            f"STREAM.UPDATE.{name}", found["config"] | {"max_bytes": 1 << 30}
        )
        assert await world.eventually("web-0", "10.0.0.10") == "10.0.0.10"
        assert alert(Cause.JOURNAL_REFUSES) == 0


async def test_a_journal_deleted_at_run_time_is_made_again_from_the_store(
    world: World,
) -> None:
    for number in range(5):
        await world.agent.acquire(f"web-{number}", candidate=f"10.0.0.{10 + number}")

    await world.stream.ask(f"STREAM.DELETE.{journal_stream(CLUSTER)}", {})

    await world.eventually("web-5", "10.0.0.15")
    subjects = f"berth.v1.{CLUSTER}.journal.lease.*"
    async with asyncio.timeout(20):
        while True:
            info = await world.stream.ask(
                f"STREAM.INFO.{journal_stream(CLUSTER)}", {"subjects_filter": subjects}
            )
            if len(info["state"].get("subjects", {})) == 6:
                break
            await asyncio.sleep(0.02)


async def test_answers_during_a_rewrite_of_the_file_survive_kill_9(
    world: World, redis: Redis, redis_server: RedisServer
) -> None:
    held = {}
    for number in range(60):
        if number % 10 == 0:
            await _rewrite(redis)
        pod = f"web-{number}"
        held[pod] = await world.eventually(pod, f"10.0.0.{10 + number}")
    await _rewrite(redis)

    await redis_server.restart()

    for pod, address in held.items():
        assert await world.eventually(pod, "10.0.9.9") == address


async def _rewrite(redis: Redis) -> None:
    with suppress(ResponseError):  # one is under way already
        await redis.bgrewriteaof()


@pytest.mark.kernel
async def test_a_store_whose_disk_is_full_loses_nothing_and_heals(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "disk", size_bytes=DISK_BYTES) as disk,
        run_redis(disk=disk) as redis,
    ):
        async with world_on(nats_server, redis) as world:
            held = {"web-0": await world.eventually("web-0", "10.0.0.10")}
            disk.fill()

            # A server that cannot flush what it must flush always ends itself.
            await world.refused(Unavailable, "the store")
            await until(lambda: not redis.is_running)

            disk.make_room()
            await redis.restart()
            held["web-1"] = await world.eventually("web-1", "10.0.0.11")
            for pod, address in held.items():
                assert await world.eventually(pod, "10.0.9.9") == address


@pytest.mark.kernel
async def test_a_journal_whose_disk_is_full_loses_nothing_and_heals(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with (
        small_disk(tmp_path / "disk", size_bytes=DISK_BYTES) as disk,
        run_nats(disk=disk) as nats,
    ):
        async with world_on(nats, redis_server) as world:
            held = {"web-0": await world.eventually("web-0", "10.0.0.10")}
            disk.fill()

            await world.refused(TryLater, "is its server's disk full?")
            assert alert(Cause.JOURNAL_REFUSES) == 1

            disk.make_room()
            await nats.restart()
            held["web-1"] = await world.eventually("web-1", "10.0.0.11")
            for pod, address in held.items():
                assert await world.eventually(pod, "10.0.9.9") == address
            assert alert(Cause.JOURNAL_REFUSES) == 0
