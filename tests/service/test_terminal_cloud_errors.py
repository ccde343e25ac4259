"""What the cloud refuses for good is told: at the node, in the metric, to the agent whose pods
wait; with the cloud's own code and the id of the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import REGISTRY

from shared.messages.clusters import NODE_LIST, NodeListRequest
from tests.support.cloud_gate import CloudGate, cloud_gate
from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer, free_port
from tests.support.standin_agent import StandInAgent

CREATE, ATTACH = "CreateNetworkInterface", "AttachNetworkInterface"
ASSIGN, QUOTA = "AssignPrivateIpAddresses", "DescribeNetworkInterfaceLimit"
REFUSALS = [
    (CREATE, "LimitExceeded.NetworkInterfaceLimitExceeded"),
    # Told once the subnet is left alone: others, and what is free by count, are tried first.
    pytest.param(CREATE, "ResourceInsufficient.Subnet", marks=pytest.mark.long),
    (CREATE, "UnauthorizedOperation"),
    (CREATE, "AuthFailure.UnauthorizedOperation"),
    (CREATE, "UnauthorizedOperation.AccountInArrears"),
    (ATTACH, "LimitExceeded"),
    (ATTACH, "UnsupportedOperation.UnsupportedInstanceFamily"),
    (ASSIGN, "LimitExceeded"),
    (QUOTA, "UnauthorizedOperation"),
]


class Refusing:
    """A world whose cloud refuses what a test names."""

    def __init__(self, world: EniWorld, gate: CloudGate, agent: StandInAgent) -> None:
        self.world, self.gate, self.agent = world, gate, agent

    def refuse(self, action: str, code: str) -> None:
        self.gate.answers[action] = {"Error": {"Code": code, "Message": "not for you"}}

    async def problem_at_node(self) -> str:
        request = NodeListRequest(deadline=datetime.now(UTC) + timedelta(seconds=5))
        listed = await self.world.bus.call(NODE_LIST, request)
        return listed.nodes[0].problem or ""


@pytest.fixture
async def refusing(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Refusing]:
    """No eni_manager runs yet."""
    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            health_listen=f"127.0.0.1:{free_port()}",
            quota_interval_s=0.1,
            observe_interval_s=0.1,
        ) as world,
        cloud_gate(world.cloud.url) as (gate, url),
    ):
        world.settings["cloud_url"] = url
        yield Refusing(world, gate, await world.agent("node-1", "ins-one"))


def refused(action: str, code: str) -> float:
    labels = {"action": action, "code": code}
    return REGISTRY.get_sample_value("berth_eni_manager_cloud_refusals_total", labels) or 0.0


@pytest.mark.parametrize(("action", "code"), REFUSALS)
async def test_a_refusal_is_told_with_its_code_and_its_request(
    refusing: Refusing, action: str, code: str
) -> None:
    agent, before = refusing.agent, refused(action, code)
    async with refusing.world.manager():
        if action == ASSIGN:
            await agent.want_until(idle=3)
        refusing.refuse(action, code)
        agent.waiting = 2

        async def is_told() -> bool:
            problem = (await agent.want()).problem or ""
            return f"{action}: {code}" in problem and "request gate" in problem

        await eventually(is_told)
        assert f"{action}: {code}: not for you (request gate)" in (
            await refusing.problem_at_node()
        )
        assert refused(action, code) > before


async def test_the_metric_names_the_last_request_of_each_refusal(refusing: Refusing) -> None:
    refusing.refuse(CREATE, "UnauthorizedOperation")
    async with refusing.world.manager():

        async def is_told() -> bool:
            return bool((await refusing.agent.want()).problem)

        await eventually(is_told)

        url = f"http://{refusing.world.settings['health_listen']}/metrics"
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with aiohttp.ClientSession() as http, http.get(url, headers=accept) as answer:
            lines = (await answer.text()).splitlines()
        [line] = [
            each
            for each in lines
            if each.startswith("berth_eni_manager_cloud_refusals_total{")
            and 'code="UnauthorizedOperation"' in each
            and CREATE in each
        ]
        assert '# {request_id="gate"}' in line
