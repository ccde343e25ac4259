"""Nodes give back what they do not need, at the pace that is set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer


def roomy(topology: dict[str, object]) -> None:
    """Two secondary ENIs of three pod addresses each."""
    topology["instances"] = [
        {
            "id": "ins-one",
            "node": "node-1",
            "zone": "zone-1",
            "subnet": "subnet-a",
            "quota": {"enis": 3, "addresses_per_eni": 4},
        }
    ]


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """No eni_manager runs yet."""
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        change=roomy,
        warm_addresses_min=1,
        warm_addresses_max=2,
        empty_eni_rest_s=0,
    ) as found:
        yield found


async def our_enis(world: EniWorld) -> dict[str, int]:
    """Secondary ENIs of the VPC, with how many pod addresses each carries."""
    found = await world.cloud.call(
        "DescribeNetworkInterfaces", Filters=[{"Name": "is-primary", "Values": ["false"]}]
    )
    return {
        each.NetworkInterfaceId: len(each.PrivateIpAddressSet) - 1
        for each in found.NetworkInterfaceSet  # type: ignore[attr-defined]
    }


async def test_the_emptiest_eni_is_drained_and_deleted(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    agent.waiting = 3
    async with world.manager():
        await agent.want_until(idle=4)
        assert sorted((await our_enis(world)).values()) == [1, 3]

        agent.waiting = 0
        await agent.want_until(idle=2)

        async def is_one_left() -> bool:
            return sorted((await our_enis(world)).values()) == [2]

        await eventually(is_one_left)
        assert len(agent.secondary) == 1


async def test_the_last_eni_goes_when_nothing_is_kept_warm(world: EniWorld) -> None:
    world.settings |= {"warm_addresses_min": 0, "warm_addresses_max": 0}
    agent = await world.agent("node-1", "ins-one")
    agent.waiting = 1
    async with world.manager():
        await agent.want_until(idle=1)

        agent.waiting = 0
        await agent.want_until(idle=0)

        async def are_none_left() -> bool:
            return await our_enis(world) == {}

        await eventually(are_none_left)
        agent.waiting = 2
        await agent.want_until(idle=2)


async def test_a_slow_release_takes_one_address_in_its_time(world: EniWorld) -> None:
    world.settings["release_every_s"] = 3600
    agent = await world.agent("node-1", "ins-one")
    agent.waiting = 4
    async with world.manager():
        await agent.want_until(idle=5)
        agent.waiting = 0
        rounds = agent.recalls

        await agent.want_until(idle=4)
        await agent.want()
        await agent.want()

        assert (len(agent.idle), agent.recalls) == (4, rounds + 1)


async def test_an_eni_that_carries_pods_is_never_removed(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    agent.waiting = 3
    async with world.manager():
        await agent.want_until(idle=4)
        emptier = min(agent.secondary, key=lambda eni: list(agent.owned.values()).count(eni))
        agent.bound |= {address for address, eni in agent.owned.items() if eni == emptier}

        agent.waiting = 0
        await agent.want_until(idle=2)

        async def is_drained() -> bool:
            return sorted((await our_enis(world)).values()) == [1, 2]

        await eventually(is_drained)
        assert agent.bound <= set(agent.owned)


async def test_a_removal_that_was_killed_is_finished_by_the_next_manager(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    agent.waiting = 3
    first = await world.process()
    await agent.want_until(idle=4)
    await world.cloud.admin(
        "POST",
        "latency",
        {"effects": {"actions": {"DetachNetworkInterface": {"median_ms": 1500}}}},
    )
    agent.waiting = 0
    await agent.want_until(idle=2)

    async def is_detaching() -> bool:
        found = await world.cloud.call("DescribeNetworkInterfaces")
        states = [each.State for each in found.NetworkInterfaceSet]  # type: ignore[attr-defined]
        return "DETACHING" in states

    await eventually(is_detaching)
    first.kill()

    async with world.manager():

        async def is_one_left() -> bool:
            return sorted((await our_enis(world)).values()) == [2]

        await eventually(is_one_left)
        assert len(agent.secondary) == 1
