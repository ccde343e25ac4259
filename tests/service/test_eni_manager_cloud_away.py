"""The eni_manager without its cloud: it goes on, says so, and catches up by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from services.eni_manager.config import EniManagerSettings
from services.eni_manager.main import serve
from shared.capacities import CloudCalls
from shared.errors import Unavailable
from tests.service.test_eni_manager_capacities import set_capacity
from tests.support.cloud_gate import cloud_gate
from tests.support.clusters import enabled_cluster
from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer, free_port


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """No eni_manager runs yet; its health is served on a known port."""
    listen = f"127.0.0.1:{free_port()}"
    async with eni_world(nats_server, redis_server, tmp_path, health_listen=listen) as found:
        yield found


async def readiness(world: EniWorld) -> tuple[int, str]:
    url = f"http://{world.settings['health_listen']}/readyz"
    try:
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientConnectorError:
        return 0, "it does not listen yet"


async def test_it_is_ready_once_the_cloud_has_answered(world: EniWorld) -> None:
    async with world.manager():

        async def is_ready() -> bool:
            return (await readiness(world))[0] == 200

        await eventually(is_ready)

        assert await readiness(world) == (200, "ok\n")


async def test_a_wrong_key_is_told_by_readiness_and_the_service_goes_on(
    world: EniWorld, tmp_path: Path
) -> None:
    (tmp_path / "secret-key").write_text("wrong", encoding="ascii")
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():

        async def is_told() -> bool:
            status, text = await readiness(world)
            return status == 503 and "AuthFailure.SignatureFailure" in text

        await eventually(is_told)
        answer = await agent.want()

        assert answer.problem is not None
        assert "AuthFailure" in answer.problem


async def test_a_subnet_that_does_not_exist_is_told_by_readiness(world: EniWorld) -> None:
    await world.cluster_is(enabled_cluster("subnet-a", "subnet-none"))
    async with world.manager():

        async def is_told() -> bool:
            return "no such subnets: subnet-none" in (await readiness(world))[1]

        await eventually(is_told)

        assert (await readiness(world))[0] == 503


async def test_calls_that_are_throttled_fail_or_stay_unanswered_are_made_up_for(
    world: EniWorld,
) -> None:
    for action, kind in (
        ("CreateNetworkInterface", "timeout_after"),
        ("AttachNetworkInterface", "throttle"),
        ("AttachNetworkInterface", "timeout_before"),
        ("DescribeInstances", "internal_error"),
        ("DescribeNetworkInterfaces", "throttle"),
    ):
        await world.cloud.admin(
            "POST", "faults", {"action": action, "kind": kind, "hold_ms": 1500}
        )
    world.settings["cloud_timeout_s"] = 0.5
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3, timeout_s=20)

    found = await world.cloud.call(
        "DescribeNetworkInterfaces", Filters=[{"Name": "is-primary", "Values": ["false"]}]
    )
    assert found.TotalCount == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "action", ["CreateNetworkInterface", "AttachNetworkInterface", "AssignPrivateIpAddresses"]
)
async def test_a_change_that_fails_after_it_was_accepted_is_made_again(
    world: EniWorld, action: str
) -> None:
    await world.cloud.admin("POST", "faults", {"action": action, "kind": "task_failed"})
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3, timeout_s=25)
        agent.bind(2)

        await agent.want_until(idle=3, timeout_s=25)

        [eni] = [each.eni for each in agent.enis.values() if not each.is_primary]
        assert set(await world.cloud.addresses(eni)) == {str(it) for it in agent.owned}


@pytest.mark.parametrize("setting", ["nats_url", "redis_url"])
async def test_without_bus_or_store_it_does_not_start(world: EniWorld, setting: str) -> None:
    scheme = "nats" if setting == "nats_url" else "redis"
    world.settings[setting] = f"{scheme}://127.0.0.1:{free_port()}"
    settings = EniManagerSettings.model_validate(world.settings | {"nats_connect_timeout_s": 1})

    with pytest.raises(Unavailable, match=f"{setting} .* does not answer"):
        await serve(settings, asyncio.Event())


async def test_while_calls_are_switched_off_not_even_a_question_reaches_the_cloud(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    quick: dict[str, object] = {
        f"{name}_interval_s": 0.05
        for name in ("round", "observe", "subnets", "sweep", "foreign")
    }
    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            **quick,  # type: ignore[arg-type] # names that mypy cannot see
        ) as world,
        cloud_gate(world.cloud.url) as (gate, url),
        world.manager(cloud_url=url),
    ):
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        await set_capacity(world, calls=CloudCalls.NONE)

        async def is_quiet() -> bool:
            before = gate.heard
            for _ in range(5):
                await agent.want()
            await asyncio.sleep(0.3)  # several rounds of every loop: nothing tells of a silence
            return gate.heard == before

        await eventually(is_quiet)
        agent.bind(3)
        assert await is_quiet()
        assert len(agent.owned) == 3, "what is there goes on"
        await set_capacity(world, calls=CloudCalls.ALL)
        await agent.want_until(idle=2)
