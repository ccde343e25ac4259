"""Settings and clouds that do not fit: told in one place, and the service goes on or waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from services.eni_manager.config import EniManagerSettings
from shared.settings import InvalidSettings, load_settings
from tests.support.cloud_gate import cloud_gate
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


async def wait_until_told(world: EniWorld, *words: str) -> None:
    """By readiness, which stays off."""

    async def is_told() -> bool:
        url = f"http://{world.settings['health_listen']}/readyz"
        try:
            async with aiohttp.ClientSession() as http, http.get(url) as answer:
                text = await answer.text()
                return answer.status == 503 and all(word in text for word in words)
        except aiohttp.ClientConnectorError:
            return False

    await eventually(is_told)


async def test_a_region_that_does_not_exist_is_told(world: EniWorld) -> None:
    world.settings["cloud_region"] = "ap-nowhere"
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await wait_until_told(world, "UnsupportedRegion")

        assert "UnsupportedRegion" in ((await agent.want()).problem or "")


async def test_an_endpoint_that_does_not_answer_is_told_and_agents_keep_their_stock(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
    world.settings |= {"cloud_url": f"http://127.0.0.1:{free_port()}", "cloud_retry_s": 0.5}
    had = set(agent.owned)

    async with world.manager():
        await wait_until_told(world, "NoAnswer")
        await agent.want()

        assert set(agent.owned) == had


async def test_a_node_of_another_vpc_is_told_which_and_gets_nothing(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with cloud_gate(world.cloud.url) as (gate, url), world.manager(cloud_url=url):
        gate.answers["DescribeInstances"] = {
            "TotalCount": 1,
            "InstanceSet": [
                {
                    "InstanceId": "ins-one",
                    "InstanceState": "RUNNING",
                    "Placement": {"Zone": "zone-1"},
                    "VirtualPrivateCloud": {"VpcId": "vpc-two", "SubnetId": "subnet-x"},
                }
            ],
        }

        async def is_told() -> bool:
            said = (await agent.want()).problem or ""
            return "the node is in vpc-two, the container subnets are in vpc-one" in said

        await eventually(is_told)
        assert agent.owned == {}


async def test_a_quota_lowered_below_what_is_in_use_takes_nothing_away(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    agent.waiting = 2
    world.settings["quota_interval_s"] = 0.1
    world.settings["observe_interval_s"] = 0.1
    async with cloud_gate(world.cloud.url) as (gate, url), world.manager(cloud_url=url):
        await agent.want_until(idle=5)
        agent.bind(5)
        gate.answers["DescribeNetworkInterfaceLimit"] = {
            "EniQuantity": 2,
            "EniPrivateIpAddressQuantity": 3,
        }

        async def is_told() -> bool:
            return "lacks" in ((await agent.want()).problem or "")

        await eventually(is_told)
        assert len(await world.cloud.addresses(agent.secondary[0])) == 5


def test_a_minimum_above_the_maximum_does_not_start() -> None:
    environment = {
        "BERTH_ENI_MANAGER_WARM_ADDRESSES_MIN": "9",
        "BERTH_ENI_MANAGER_WARM_ADDRESSES_MAX": "2",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)

        with pytest.raises(
            InvalidSettings, match="warm_addresses_min 9 is above warm_addresses_max 2"
        ):
            load_settings(EniManagerSettings, None, environment)
