"""Pods that name subnets, over a real bus, a real store and the simulated cloud's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent


def _roomy(topology: dict[str, object]) -> None:
    topology["instances"] = [
        {
            "id": "ins-one",
            "node": "node-1",
            "zone": "zone-1",
            "subnet": "subnet-a",
            "quota": {"enis": 3, "addresses_per_eni": 10},
        }
    ]


@pytest.fixture
async def agent(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[StandInAgent]:
    """Of a node with stock in subnet-a, the one of its subnets with more free addresses."""
    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            change=_roomy,
            subnets=["subnet-a", "subnet-small"],
            warm_addresses_min=2,
            warm_addresses_max=3,
        ) as world,
        world.manager(),
    ):
        yield await _joined(world)


async def _joined(world: EniWorld) -> StandInAgent:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=2)
    assert {agent.enis[each].subnet for each in agent.secondary} == {"subnet-a"}
    return agent


async def test_a_pod_that_names_a_subnet_gets_an_address_of_it_and_keeps_it_idle_till_then(
    agent: StandInAgent,
) -> None:
    agent.waiting_in = {("subnet-small",): 2}

    await agent.want_so(lambda: len(agent.idle_in("subnet-small")) == 2)
    await agent.want()

    assert sorted(agent.enis[each].subnet for each in agent.secondary) == [
        "subnet-a",
        "subnet-small",
    ]
    assert len(agent.idle) == 4, "above the warm maximum, and kept: pods wait for it"
    assert agent.recalls == 0


async def test_a_subnet_that_is_not_the_clusters_is_told_with_those_that_are(
    agent: StandInAgent,
) -> None:
    agent.waiting_in = {("subnet-nowhere",): 1}
    problems: list[str] = []

    async def is_told() -> bool:
        problems.append((await agent.want()).problem or "")
        return bool(problems[-1])

    await eventually(is_told)

    assert "subnet-nowhere is not a container subnet" in problems[-1]
    assert "container subnets of zone zone-1: subnet-a, subnet-small" in problems[-1]
    assert len(agent.owned) == 2
