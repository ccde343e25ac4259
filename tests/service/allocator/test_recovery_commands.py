"""``berth backup``, ``restore`` and ``recover`` as a person runs them, on real allocators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from berth.programs import base_environment, python_module
from services.allocator.config import AllocatorSettings
from shared.bus.connection import connect_bus
from shared.messages.leases import ReleaseOutcome
from shared.messages.subjects import journal_stream
from shared.store.keys import lease_key
from tests.support.allocators import (
    CLUSTER,
    Agent,
    bus_client,
    identity,
    running,
    settings,
)
from tests.support.lease_storm import acquired, register
from tests.support.servers import NatsServer, RedisServer
from tests.unit.commands.test_backup_file import GOLDEN

MANY = 600  # more than two pages


@dataclass
class World:
    agent: Agent
    redis: Redis
    nats: NatsServer
    told: dict[str, int]  # pod → generation of its bind

    async def berth(self, *arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *python_module("berth.main"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=base_environment()
            | {"BERTH_NATS_URL": self.nats.url, "BERTH_CLUSTER": CLUSTER},
        )
        stdout, stderr = await process.communicate()
        return process.returncode, stdout.decode(), stderr.decode()

    async def bind(self, count: int) -> None:
        for number in range(count):
            pod = f"web-{number}"
            got = await self.agent.acquire(pod, candidate=self.address(number))
            self.told[pod] = got.generation

    @staticmethod
    def address(number: int) -> str:
        return f"10.0.{number // 250}.{number % 250}"

    async def lose_everything(self) -> None:
        bus = await connect_bus(settings_of(self.nats), client_name="saboteur")
        await bus.jetstream().delete_stream(journal_stream(CLUSTER))
        await self.redis.flushall()
        await bus.close()
        await register(self.agent)

    async def held(self) -> int:
        return int(await self.redis.hlen(lease_key(CLUSTER, "fixed")))


def settings_of(nats: NatsServer) -> AllocatorSettings:
    return AllocatorSettings(cluster=CLUSTER, nats_url=nats.url)


@asynccontextmanager
async def world_on(nats: NatsServer, store: RedisServer) -> AsyncIterator[World]:
    here = settings(nats, store, durability_interval_s=0.1)
    redis = Redis.from_url(store.url)
    async with running(here), running(here), bus_client(nats) as (client, _):
        agent = Agent(client, "node-1")
        await register(agent)
        yield World(agent, redis, nats, {})
    await redis.aclose()


@pytest.fixture
async def world(nats_server: NatsServer, redis_server: RedisServer) -> AsyncIterator[World]:
    async with world_on(nats_server, redis_server) as found:
        yield found


@pytest.mark.long
async def test_a_backup_brings_every_lease_back_after_both_books_were_lost(
    world: World, tmp_path: Path
) -> None:
    await world.bind(MANY)
    file = tmp_path / "leases"
    assert await world.berth("backup", str(file)) == (
        0,
        f"{MANY} leases of cluster test are in {file}\n",
        "",
    )
    await world.lose_everything()
    assert await world.held() == 0

    status, said, _ = await world.berth("restore", str(file), "--dry-run")
    assert (status, said) == (
        0,
        f"{MANY} leases would be restored, 0 are there already\n",
    )
    assert await world.held() == 0

    status, said, _ = await world.berth("restore", str(file))
    assert (status, said) == (0, f"{MANY} leases restored, 0 are there already\n")
    status, said, _ = await world.berth("restore", str(file))
    assert said == f"0 leases restored, {MANY} are there already\n"

    released = await world.agent.release("web-7", world.told["web-7"])
    assert released.release is ReleaseOutcome.RETAINED, "the agent names the bind it knows"
    assert str(await acquired(world.agent, "web-8", "10.9.9.9")) == world.address(8)


async def test_a_restore_leaves_live_leases_alone_unless_it_is_told(
    world: World, tmp_path: Path
) -> None:
    await world.bind(3)
    file = tmp_path / "leases"
    await world.berth("backup", str(file))
    await world.lose_everything()
    await world.agent.acquire("web-0", candidate="10.0.5.5")
    await world.agent.acquire("other-0", candidate=world.address(1))

    status, said, _ = await world.berth("restore", str(file), "--json")

    answer = json.loads(said)
    assert (status, answer["restored"]) == (1, 1)
    reasons = {each["identity"]["name"]: each["reason"] for each in answer["refused"]}
    assert "has 10.0.5.5 now, bound_fixed on node node-1" in reasons["web-0"]
    assert reasons["web-1"] == f"{world.address(1)} is another identity's lease now"

    _, said, _ = await world.berth("restore", str(file), "--replace", "--json")

    answer = json.loads(said)
    assert (answer["restored"], answer["same"], len(answer["refused"])) == (1, 1, 1)
    assert str(await acquired(world.agent, "web-0", "10.9.9.9")) == world.address(0)


@pytest.mark.long
async def test_a_backup_of_another_cluster_is_refused(world: World, tmp_path: Path) -> None:
    file = tmp_path / "leases"
    await world.berth("backup", str(file))
    file.write_bytes(GOLDEN.read_bytes())

    status, _, said = await world.berth("restore", str(file))

    assert (status, said) == (
        1,
        f"berth: {file}: line 1: it is of cluster 'golden', not of 'test'\n",
    )


async def test_a_recovery_is_tried_before_it_is_made(world: World) -> None:
    await world.bind(5)
    await world.redis.hdel(lease_key(CLUSTER, "fixed"), identity("web-3").token)

    status, said, _ = await world.berth("recover", "--dry-run", "--json")

    tried = json.loads(said)
    assert status == 0
    assert (tried["leases_in_store"], tried["leases_in_journal"], tried["differing"]) == (
        4,
        5,
        1,
    )
    (difference,) = tried["differences"]
    assert difference["identity"]["name"] == "web-3"
    assert difference["store"] is None
    assert difference["journal"].startswith(f"{world.address(3)} bound_fixed on node-1")

    status, said, _ = await world.berth("recover")

    assert (status, said) == (0, "epoch 2 is open, with 5 leases\n")
    _, said, _ = await world.berth("recover", "--dry-run")
    assert "0 differ" in said


@pytest.mark.long
async def test_a_journal_is_built_anew_from_the_store_when_told(world: World) -> None:
    await world.bind(5)
    await world.redis.hdel(lease_key(CLUSTER, "fixed"), identity("web-3").token)
    await world.redis.hdel(lease_key(CLUSTER, "addresses"), world.address(3))

    status, said, _ = await world.berth("recover", "--from", "store")

    assert (status, said) == (0, "epoch 2 is open, with 4 leases\n")
    _, said, _ = await world.berth("recover", "--dry-run", "--json")
    tried = json.loads(said)
    assert (tried["leases_in_journal"], tried["differing"]) == (4, 0)
