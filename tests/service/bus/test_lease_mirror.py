"""The example for integrators, as it is told in docs/bus.md: a copy of the leases elsewhere."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from berth.programs import base_environment, python_module
from services.allocator.config import AllocatorSettings
from shared.bus.client import BusClient
from shared.bus.connection import connect_bus
from shared.bus.roles import Role, client_name
from shared.errors import BerthError
from shared.messages.events import EVENT_STREAM
from shared.messages.leases import LEASE_LIST, LeaseListRequest
from shared.settings import ServiceSettings
from tests.support.allocators import CLOCK, PATIENCE, Agent, registered, running
from tests.support.servers import RedisServer
from tests.support.speakers import CLUSTER, NODE_1, GuardedBus

EXAMPLE = Path(__file__).parents[3] / "deploy" / "examples" / "lease_mirror.py"
PATIENCE_S = 30.0
LOOK_S = 0.05
ROWS = "SELECT name, address, state, generation FROM leases"
Row = tuple[str, str, str, int]  # pod, address, state, generation


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An agent that asks, an operator that lists, and a database for the copy."""

    bus: GuardedBus
    redis: RedisServer
    agent: Agent
    operator: BusClient
    database: Path

    def settings(self) -> AllocatorSettings:
        return AllocatorSettings(
            cluster=CLUSTER,
            nats_url=self.bus.url,
            nats_key_file=self.bus.keys["allocator"].seed_file,
            redis_url=self.redis.url,
            claim_timeout_s=1.0,
        )

    @asynccontextmanager
    async def allocator_process(self) -> AsyncIterator[asyncio.subprocess.Process]:
        settings = self.settings().model_dump(exclude_unset=True)
        words = {
            f"BERTH_ALLOCATOR_{name.upper()}": str(each) for name, each in settings.items()
        }
        process = await asyncio.create_subprocess_exec(
            *python_module("services.allocator.main"), env=base_environment() | words
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def mirror(self, *, relist_s: float) -> AsyncIterator[None]:
        """The example as an integrator runs it, ended as a terminal would end it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLE), self.bus.url, CLUSTER),
            *(str(self.bus.keys["observer"].seed_file), str(self.database)),
            *("--relist", str(relist_s)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (await process.stdout.readline()).startswith(b"listed "):
                    assert process.returncode is None
            yield
        finally:
            process.terminate()
            await process.communicate()

    def rows(self) -> set[Row]:
        database = sqlite3.connect(self.database)
        try:
            return set(database.execute(ROWS).fetchall())
        finally:
            database.close()

    async def leases(self) -> set[Row]:
        found: set[Row] = set()
        cursor = ""
        while cursor != "0":
            page = await self.operator.call(
                LEASE_LIST,
                LeaseListRequest(deadline=CLOCK.now() + PATIENCE, cursor=cursor or "0"),
            )
            for each in page.leases:
                if each.identity is not None and each.generation is not None:
                    found.add(
                        (each.identity.name, str(each.address), each.state, each.generation)
                    )
            cursor = page.next_cursor
        return found

    async def copied(self) -> set[Row]:
        """Until the copy is the list; which it then was."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                wanted = await self.leases()
                if self.rows() == wanted:
                    return wanted
                await asyncio.sleep(LOOK_S)

    async def all_read(self) -> None:
        """Until the example has taken and acknowledged every event."""
        async with asyncio.timeout(PATIENCE_S), self.bus.speak(Role.OBSERVER) as speaker:
            while True:
                info = await speaker.client.jetstream().consumer_info(EVENT_STREAM, "observer")
                if not info.num_pending and not info.num_ack_pending:
                    return
                await asyncio.sleep(LOOK_S)


@pytest.fixture
async def world(
    guarded_bus: GuardedBus, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[World]:
    """Two allocators' worth of keys on a bus that refuses whoever has none."""

    async def connected(role: Role, stack: AsyncExitStack) -> BusClient:
        node = NODE_1 if role is Role.NODE_AGENT else None
        name = client_name(role, node)
        settings = ServiceSettings(
            cluster=CLUSTER,
            nats_url=guarded_bus.url,
            nats_key_file=guarded_bus.keys[name].seed_file,
        )
        client = await connect_bus(settings, client_name=name)
        stack.push_async_callback(client.close)
        return BusClient(client, cluster=CLUSTER, clock=CLOCK, rng=random.Random(1))

    async with AsyncExitStack() as stack:
        yield World(
            bus=guarded_bus,
            redis=redis_server,
            agent=Agent(await connected(Role.NODE_AGENT, stack), NODE_1),
            operator=await connected(Role.OPERATOR, stack),
            database=tmp_path / "leases.db",
        )


async def acquired(agent: Agent, number: int) -> int:
    """The generation of the lease of one pod more; asked again until somebody answers."""
    request = agent.acquire_request(f"web-{number}", candidate=f"10.0.1.{number}")
    for _ in range(20):
        try:
            return (await agent.send(request)).generation
        except BerthError:
            request = request.model_copy(
                update={"deadline": CLOCK.now() + PATIENCE, "fence": agent.fence()}
            )
    raise AssertionError("no allocator answers")


async def test_events_alone_keep_a_copy_prompt_and_a_pause_loses_none(world: World) -> None:
    async with running(world.settings()):
        await registered(world.agent)
        async with world.mirror(relist_s=3600):
            held = [await acquired(world.agent, number) for number in range(1, 9)]
            assert len(await world.copied()) == 8
        for number, generation in enumerate(held[:4], start=1):
            await world.agent.release(f"web-{number}", generation)
        await acquired(world.agent, 9)
        assert len(world.rows() ^ await world.leases()) > 4, "nobody copies while it is away"

        async with world.mirror(relist_s=3600):
            copy = await world.copied()
            await world.all_read()

        assert {row[2] for row in copy} == {"bound_fixed", "retained"}
        assert len(copy) == 9


async def test_a_killed_allocators_events_are_made_up_for(world: World) -> None:
    async with running(world.settings()), world.allocator_process() as other:
        await registered(world.agent)
        async with world.mirror(relist_s=1):
            async with asyncio.TaskGroup() as asking:
                tasks = [
                    asking.create_task(acquired(world.agent, number))
                    for number in range(1, 101)
                ]
                await asyncio.wait(tasks[:40])
                other.kill()

            copy = await world.copied()

    assert {row[0] for row in copy} == {f"web-{number}" for number in range(1, 101)}
    assert len({row[1] for row in copy}) == 100


async def test_the_ten_lines_of_the_page_print_the_leases(world: World, tmp_path: Path) -> None:
    page = (EXAMPLE.parents[2] / "docs" / "bus.md").read_text(encoding="utf-8")
    lines = page.split("```python\n", 1)[1].split("```", 1)[0]
    lines = lines.replace("nats://127.0.0.1:4222", world.bus.url)
    lines = lines.replace("observer.nk", str(world.bus.keys["observer"].seed_file))
    (tmp_path / "lines.py").write_text(lines, encoding="utf-8")
    async with running(world.settings()):
        await registered(world.agent)
        await acquired(world.agent, 1)

        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(tmp_path / "lines.py")), stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()

    assert told.decode().split() == ["10.0.1.1", "bound_fixed", NODE_1]
