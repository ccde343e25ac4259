"""The VPC has as many ENIs as its quota allows: nodes fill theirs, and idle ones make way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from tests.support.cloud_gate import cloud_gate
from tests.support.eni_books import cloud_enis, disagreements
from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

WANTED = "berth_eni_manager_vpc_enis_wanted_count"
GAVE_WAY = "berth_eni_manager_enis_gave_way_total"
ROOM = 3  # pod addresses of an ENI


def two_enis_at_most(topology: dict[str, object]) -> None:
    """Of the VPC; each of the three instances might have two."""
    topology["limits"] = {"enis_per_vpc": 2}
    topology["instances"] = [
        {
            "id": f"ins-{name}",
            "node": f"node-{at}",
            "zone": "zone-1",
            "subnet": "subnet-a",
            "quota": {"enis": 3, "addresses_per_eni": 1 + ROOM},
        }
        for at, name in enumerate(("one", "two", "three"), 1)
    ]


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        change=two_enis_at_most,
        warm_addresses_min=1,
        warm_addresses_max=ROOM,
        vpc_quota_interval_s=0.5,
    ) as found:
        yield found


async def agents_of(world: EniWorld, count: int) -> list[StandInAgent]:
    names = ("one", "two", "three")[:count]
    return [await world.agent(f"node-{at}", f"ins-{name}") for at, name in enumerate(names, 1)]


async def problem_of(agent: StandInAgent) -> str:
    return (await agent.want()).problem or ""


async def used(agent: StandInAgent, count: int) -> None:
    """Pods have so many of its addresses."""
    agent.waiting = count
    await agent.want_so(lambda: len(agent.idle) >= count)
    agent.bind(count)
    agent.waiting = 0


async def test_a_node_fills_its_enis_once_no_other_can_be_made(world: EniWorld) -> None:
    """The refusal says nothing of subnets or instances, so nothing else is held up by it."""
    async with world.manager():
        one, two, three = await agents_of(world, 3)
        await used(one, 1)
        await used(two, 1)
        three.waiting = 1

        async def is_told() -> bool:
            return "the VPC has as many as its quota allows" in await problem_of(three)

        await eventually(is_told)
        one.waiting = 1
        await one.want_so(lambda: len(one.idle) >= 2)

        assert len(await cloud_enis(world)) == 2
        assert "LimitExceeded.NetworkInterfaceLimitExceeded" in await problem_of(three)
        assert await problem_of(one) == ""

        async def is_counted() -> bool:
            await three.want_quietly()
            return REGISTRY.get_sample_value(WANTED) == 1

        await eventually(is_counted)


async def test_an_idle_eni_makes_way_for_another_nodes_pods(world: EniWorld) -> None:
    gave = REGISTRY.get_sample_value(GAVE_WAY) or 0.0
    async with world.manager():
        one, two, three = await agents_of(world, 3)
        await used(one, 1)
        await two.want_until(idle=1)
        three.waiting = 1

        async def is_served() -> bool:
            await two.want_quietly()
            await three.want_quietly()
            return bool(three.idle)

        await eventually(is_served)
        three.bind(1)
        three.waiting = 0
        instances = {instance for instance, _ in (await cloud_enis(world)).values()}

        assert instances == {"ins-one", "ins-three"}
        assert two.owned == {}
        assert len(one.bound & one.owned.keys()) == 1, "what a pod uses stays"
        assert REGISTRY.get_sample_value(GAVE_WAY) == gave + 1


async def test_an_idle_eni_makes_way_for_a_pod_that_needs_one_of_its_own(
    world: EniWorld,
) -> None:
    async with world.manager():
        one, two, three = await agents_of(world, 3)
        await used(one, 1)
        await two.want_until(idle=1)
        three.warm = (0, 0)
        three.whole_waiting = 1

        async def is_served() -> bool:
            await two.want_quietly()
            await three.want_quietly()
            return bool(three.whole)

        await eventually(is_served)
        assert two.owned == {}
        instances = {instance for instance, _ in (await cloud_enis(world)).values()}
        assert instances == {"ins-one", "ins-three"}


async def test_what_pods_use_makes_way_for_nobody(world: EniWorld) -> None:
    async with world.manager():
        one, two, three = await agents_of(world, 3)
        await used(one, 1)
        await used(two, 1)
        before = await cloud_enis(world)
        three.waiting = 1

        for _ in range(20):
            for agent in (one, two, three):
                await agent.want()

        assert (await cloud_enis(world)).keys() == before.keys()
        assert await disagreements(world, [one, two, three]) == []


async def test_creations_that_the_vpc_refuses_are_asked_for_seldom(world: EniWorld) -> None:
    world.settings["vpc_quota_interval_s"] = 600.0
    async with cloud_gate(world.cloud.url) as (gate, url):
        world.settings["cloud_url"] = url
        process = await world.process()
        one, two, three = await agents_of(world, 3)
        await used(one, 1)
        await used(two, 1)
        gate.arm(None, -1, process)
        three.waiting = 1

        async def is_told() -> bool:
            return "the VPC has as many" in await problem_of(three)

        await eventually(is_told)
        for _ in range(10):
            await three.want()

        assert gate.calls.count("CreateNetworkInterface") == 1
