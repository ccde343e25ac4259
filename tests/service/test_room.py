"""A full subnet and pods that wait: retained leases make way, and their addresses get there.

Allocator, eni_manager, bus, store and cloud are real; only the nodes' agents stand in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.support.allocator_beside import allocator
from tests.support.clusters import enabled_cluster, subnet
from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.fixed_pods import FixedPods
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

QUICK: dict[str, object] = {"reap_interval_s": 0.05, "reap_retry_s": 0.5}
ROOM = 4  # what subnet-small has for pods beside one ENI's own address


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        subnets=["subnet-small"],
        warm_addresses_min=ROOM,
        warm_addresses_max=ROOM,
    ) as found:
        yield found


async def allows_reclaiming(world: EniWorld, is_allowed: bool) -> None:
    record = enabled_cluster(subnet("subnet-small", reclaims=is_allowed), revision=9)
    await world.cluster_is(record)


async def full(world: EniWorld) -> tuple[StandInAgent, list[IPv4Address]]:
    """Every address of the subnet is a retained lease's, the first the longest."""
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=ROOM)
    pods = FixedPods(world, agent)
    pods.voice.subnet = "subnet-small"
    await pods.register()
    return agent, [await pods.start_and_end(f"web-{number}") for number in range(ROOM)]


async def test_the_longest_retained_lease_makes_way_for_a_pod_that_waits(
    world: EniWorld,
) -> None:
    await allows_reclaiming(world, True)
    async with world.manager(), allocator(world, **QUICK):
        agent, addresses = await full(world)

        agent.waiting = 1

        async def is_given() -> bool:
            await agent.want()
            return bool(agent.owned)

        await eventually(is_given, timeout_s=30)
        assert set(agent.owned) == {addresses[0]}
        assert set(await world.leases()) == {"web-1", "web-2", "web-3"}


async def test_without_the_option_a_pod_waits_and_every_lease_stays(world: EniWorld) -> None:
    await allows_reclaiming(world, False)
    async with world.manager(), allocator(world, **QUICK):
        agent, _ = await full(world)

        agent.waiting = 1

        async def is_told() -> bool:
            return (await agent.want()).problem is not None

        await eventually(is_told)
        assert set(await world.leases()) == {f"web-{number}" for number in range(ROOM)}
        assert agent.owned == {}
