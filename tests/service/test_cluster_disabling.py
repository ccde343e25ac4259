"""A cluster is disabled only when no pod uses it; then the cloud holds nothing of ours.

Allocator, eni_manager, bus, store and cloud are real; only the nodes' agents stand in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.clusters import Progress
from shared.errors import ClusterNotEnabled, LeasesRetained, PodsExist
from shared.store.keys import lease_key
from tests.support.allocator_beside import allocator, allocator_process
from tests.support.allocators import Agent
from tests.support.cluster_topology import apart
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.operators import Operator
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

QUICK = {"cluster_interval_s": 0.05, "reap_interval_s": 0.05, "reap_retry_s": 0.5}


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """Neither service runs yet."""
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        subnets=[],
        change=apart,
        cluster_interval_s=0.05,
        warm_addresses_min=2,
        warm_addresses_max=2,
    ) as found:
        yield found


class Node:
    """An agent's stock, and what it asks allocators of fixed leases."""

    def __init__(self, agent: StandInAgent, voice: Agent) -> None:
        self.agent = agent
        self._voice = voice

    async def start(self, pod: str) -> int:
        """The generation that its release must name."""
        address = min(self.agent.idle)
        got = await self._voice.acquire(pod, candidate=str(address))
        del self.agent.owned[address]
        return got.generation

    async def end(self, pod: str, generation: int) -> None:
        await self._voice.release(pod, generation)


async def serving(world: EniWorld, operator: Operator) -> list[Node]:
    """Two nodes with an ENI and two idle addresses each."""
    await operator.enable("subnet-pods")
    nodes = []
    for name, instance in (("node-1", "ins-one"), ("node-2", "ins-two")):
        agent = await world.agent(name, instance)
        voice = Agent(world.bus, agent.node)
        await voice.register()
        await agent.want_until(idle=2)
        nodes.append(Node(agent, voice))
    return nodes


async def ours(world: EniWorld) -> list[str]:
    """ENIs at the cloud that carry this cluster's tag."""
    filters = [{"Name": "tag:berth-cluster", "Values": [CLUSTER]}]
    found = await world.cloud.call("DescribeNetworkInterfaces", Filters=filters)
    return [each.NetworkInterfaceId for each in found.NetworkInterfaceSet]  # type: ignore[attr-defined]


async def test_a_disabled_cluster_has_nothing_at_the_cloud(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with world.manager(), allocator(world, **QUICK):
        nodes = await serving(world, operator)
        tags = [{"Key": "berth-cluster", "Value": CLUSTER}]
        for attach in (world.cloud.created, world.cloud.attached):  # in no book
            await attach(Tags=tags)
        before = await ours(world)

        status = await operator.disable()

        left = await ours(world)
        answer = await nodes[0].agent.want()
        again = await operator.disable()
    assert len(before) == 4
    assert left == []
    assert [node.agent.owned for node in nodes] == [{}, {}]
    assert answer.problem is not None
    assert "the cluster is not enabled" in answer.problem
    assert again.cluster == status.cluster
    assert {each.progress for each in operator.steps[:-1]} == {
        Progress.RUNNING,
        Progress.SUCCEED,
    }


async def test_a_cluster_with_pods_is_not_disabled(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with world.manager(), allocator(world, **QUICK):
        [one, two] = await serving(world, operator)
        await one.start("web-0")
        [address] = two.agent.bind(1)

        with pytest.raises(PodsExist) as refused:
            await operator.disable(ends_retained=True)

        cluster = await operator.cluster()
    assert "2 pods use addresses" in str(refused.value)
    assert "default/web-0 on node-1" in str(refused.value)
    assert f"a sandbox on {address} on node-2" in str(refused.value)
    assert cluster.is_enabled
    assert cluster.operation.verb == "enable", "nothing was begun"


async def test_retained_leases_end_only_when_that_was_meant(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with world.manager(), allocator(world, **QUICK):
        [one, _] = await serving(world, operator)
        await one.end("web-0", await one.start("web-0"))

        with pytest.raises(LeasesRetained, match="1 leases of pods that are away"):
            await operator.disable()
        kept = await world.redis.hlen(lease_key(CLUSTER, "fixed"))

        await operator.disable(ends_retained=True)

        left = await world.redis.hlen(lease_key(CLUSTER, "fixed"))
        assert (kept, left, await ours(world)) == (1, 0, [])


@pytest.mark.long
async def test_a_pod_that_came_meanwhile_keeps_the_cluster_enabled(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with allocator(world, **QUICK):
        async with world.manager():
            [one, _] = await serving(world, operator)
        disabling = asyncio.create_task(operator.disable())

        async def has_begun() -> bool:
            return any(each.verb == "disable" for each in operator.steps)

        await eventually(has_begun)
        one.agent.bind(1)

        with pytest.raises(PodsExist, match="1 pods use addresses"):
            await disabling

        cluster = await operator.cluster()
    assert cluster.is_enabled
    assert cluster.operation.progress is Progress.FAILED


@pytest.mark.long
async def test_a_disabling_goes_on_after_each_service_was_killed(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with AsyncExitStack() as stack:
        allocators = await stack.enter_async_context(allocator_process(world, **QUICK))
        manager = await world.process()
        await eventually(operator.is_answered)
        [one, _] = await serving(world, operator)
        await one.end("web-0", await one.start("web-0"))
        disabling = asyncio.create_task(operator.disable(ends_retained=True))

        async def has_begun() -> bool:
            return any(each.verb == "disable" for each in operator.steps)

        await eventually(has_begun)
        for process in (allocators, manager):
            process.kill()
            await process.wait()
        killed_with = len(await ours(world))
        await stack.enter_async_context(allocator_process(world, **QUICK))
        await world.process()

        status = await disabling

        left = await ours(world)
    assert killed_with > 0, "the kill came while there was something to do"
    assert left == []
    assert status.cluster is not None
    assert status.cluster.is_disabled


@pytest.mark.long
async def test_a_disabled_cluster_may_be_enabled_differently(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with world.manager(), allocator(world, **QUICK):
        [one, _] = await serving(world, operator)
        await operator.disable()

        await operator.enable("subnet-more", has_fixed_ips=False, pods_max=3)

        await one.agent.want_until(idle=2)
        subnets = {each.subnet for each in one.agent.enis.values() if not each.is_primary}
        assert subnets == {"subnet-more"}


async def test_a_cluster_that_was_never_enabled_is_not_disabled(world: EniWorld) -> None:
    async with allocator(world, **QUICK):
        with pytest.raises(ClusterNotEnabled, match="never enabled"):
            await Operator(world.bus).disable()
