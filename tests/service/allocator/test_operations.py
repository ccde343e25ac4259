"""A person ends leases over the bus: what is refused, what is told, what becomes of it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus.client import BusClient
from shared.bus.connection import connect_bus
from shared.errors import InvalidInput, LeaseInUse, NotFound, Stale
from shared.messages.base import IdentityFields, subject_root
from shared.messages.events import LeaseEvent
from shared.messages.leases import (
    LEASE_FORGET,
    LEASE_GET,
    LeaseForgetRequest,
    LeaseForgotten,
    LeaseGetRequest,
)
from tests.support.allocators import (
    CLOCK,
    CLUSTER,
    PATIENCE,
    Agent,
    EniManager,
    bus_client,
    identity,
    registered,
    running,
    settings,
)
from tests.support.eni_world import eventually
from tests.support.servers import NatsServer, RedisServer


@dataclass
class World:
    bus: BusClient
    agent: Agent
    manager: EniManager
    events: asyncio.Queue[LeaseEvent]

    async def generation(self, pod: str) -> int:
        found = await self.bus.call(
            LEASE_GET,
            LeaseGetRequest(
                deadline=CLOCK.now() + PATIENCE, identity=IdentityFields.of(identity(pod))
            ),
        )
        assert found.lease.generation is not None
        return found.lease.generation

    async def forget(
        self, pod: str, generation: int, *, force: bool = False, reason: str | None = None
    ) -> LeaseForgotten:
        return await self.bus.call(
            LEASE_FORGET,
            LeaseForgetRequest(
                deadline=CLOCK.now() + PATIENCE,
                identity=IdentityFields.of(identity(pod)),
                generation=generation,
                force=force,
                reason=reason,
                by="ada@desk",
            ),
        )

    async def is_gone(self) -> bool:
        try:
            await self.generation("web-0")
        except NotFound:
            return True
        return False

    async def told(self, verb: str) -> LeaseEvent:
        async with asyncio.timeout(5):
            while True:
                event = await self.events.get()
                if event.verb == verb:
                    return event


@pytest.fixture
async def world(nats_server: NatsServer, redis_server: RedisServer) -> AsyncIterator[World]:
    """One replica whose reaper is quick, one registered node, a manager that takes back."""
    here = settings(nats_server, redis_server, reap_interval_s=0.02)
    async with running(here), bus_client(nats_server) as (client, server):
        listener = await connect_bus(here, client_name="listener")
        try:
            world = World(
                client, Agent(client, "node-1"), EniManager(), await _listen(listener)
            )
            await world.manager.serve(server)
            await registered(world.agent)
            yield world
        finally:
            await listener.close()


async def _listen(bus: Client) -> asyncio.Queue[LeaseEvent]:
    events: asyncio.Queue[LeaseEvent] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        events.put_nowait(LeaseEvent.model_validate_json(message.data))

    await bus.subscribe(f"{subject_root(CLUSTER)}.event.lease.*", cb=hear)
    return events


async def test_a_retained_lease_is_ended_and_handed_over(world: World) -> None:
    got = await world.agent.acquire("web-0", candidate="10.0.0.10")
    await world.agent.release("web-0", got.generation)

    ended = await world.forget("web-0", await world.generation("web-0"))

    await eventually(world.is_gone)
    assert ended.address == got.address
    assert [(it.address, it.generation) for it in world.manager.reclaimed] == [
        (got.address, ended.generation)
    ]


async def test_who_ended_a_lease_and_why_is_told(world: World) -> None:
    got = await world.agent.acquire("web-0", candidate="10.0.0.10")

    await world.forget("web-0", got.generation, force=True, reason="node-1 burned down")

    told = await world.told("expired")
    assert told.reason == "forced by ada@desk: node-1 burned down"
    assert told.address == got.address


async def test_a_lease_that_a_pod_uses_is_kept_and_the_pod_is_named(world: World) -> None:
    got = await world.agent.acquire("web-0", candidate="10.0.0.10")

    with pytest.raises(LeaseInUse, match=r"used by pod uid uid-1 on node node-1 .* --force"):
        await world.forget("web-0", got.generation)

    assert await world.generation("web-0") == got.generation


async def test_force_without_a_reason_is_refused(world: World) -> None:
    got = await world.agent.acquire("web-0", candidate="10.0.0.10")

    with pytest.raises(InvalidInput, match="reason"):
        await world.forget("web-0", got.generation, force=True)

    assert await world.generation("web-0") == got.generation


async def test_a_lease_that_changed_since_it_was_seen_is_kept(world: World) -> None:
    got = await world.agent.acquire("web-0", candidate="10.0.0.10")
    await world.agent.release("web-0", got.generation)
    seen = await world.generation("web-0")
    await world.agent.acquire("web-0", uid="uid-2", sandbox="s2")

    with pytest.raises(Stale, match="has changed since"):
        await world.forget("web-0", seen, force=True, reason="late")

    assert not await world.is_gone()


async def test_a_lease_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="web-0"):
        await world.forget("web-0", 1)


async def test_the_next_pod_of_the_name_gets_another_address(world: World) -> None:
    got = await world.agent.acquire("web-0", candidate="10.0.0.10")
    await world.agent.release("web-0", got.generation)
    await world.forget("web-0", await world.generation("web-0"))
    await eventually(world.is_gone)

    again = await world.agent.acquire("web-0", candidate="10.0.0.11", uid="uid-2", sandbox="s2")

    assert (str(again.address), again.candidate_taken) == ("10.0.0.11", True)


async def berth(nats: NatsServer, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "berth.main", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ) | {"BERTH_NATS_URL": nats.url, "BERTH_CLUSTER": CLUSTER},
    )
    async with asyncio.timeout(20):
        said, complained = await process.communicate()
    return process.returncode or 0, said.decode(), complained.decode()


async def test_the_command_ends_a_lease_and_says_what_it_refuses(
    world: World, nats_server: NatsServer
) -> None:
    await world.agent.acquire("web-0", candidate="10.0.0.10")
    release = ("lease", "release", "default/web-0")

    in_use = await berth(nats_server, *release)
    no_reason = await berth(nats_server, *release, "--force")
    forced = await berth(nats_server, *release, "--force", "--reason", "its node is gone")
    told = await world.told("expired")
    await eventually(world.is_gone)
    gone = await berth(nats_server, *release)

    assert in_use[0] == 1
    assert in_use[2].startswith("berth: 10.0.0.10 of default/web-0@berth is used by pod uid")
    assert no_reason[0] == 1
    assert no_reason[2].startswith("berth: --reason: None is not allowed")
    assert (forced[0], forced[2]) == (0, "")
    assert forced[1].startswith("10.0.0.10 is no longer default/web-0@berth's")
    assert told.reason is not None
    assert told.reason.endswith(": its node is gone")
    assert (gone[0], gone[2]) == (1, "berth: default/web-0@berth has no lease\n")


async def test_the_command_says_how_long_a_lease_is_kept(
    world: World, nats_server: NatsServer
) -> None:
    await world.agent.acquire("web-0", candidate="10.0.0.10")
    policy = ("lease", "policy", "default/web-0", "--expires")

    too_short = await berth(nats_server, *policy, "4m")
    no_span = await berth(nats_server, *policy, "soon")
    done = await berth(nats_server, *policy, "30m")
    told = await world.told("policy_set")

    assert (too_short[0], no_span[0]) == (1, 1)
    assert too_short[2].startswith("berth: expires_after: '0:04:00' is not allowed")
    assert no_span[2].startswith("berth: --expires: 'soon' is not allowed")
    assert (done[0], done[2]) == (0, "")
    assert done[1].startswith("10.0.0.10 is kept for default/web-0@berth for 30m once")
    assert told.reason is not None
    assert told.reason.startswith("kept 0:30:00 after its pod, by ")
