"""A cluster is enabled by its operator, and its record outlives everything it is kept in.

Allocator, eni_manager, bus, store and cloud are real; only the nodes' agents stand in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from shared.clusters import Progress
from shared.errors import (
    CannotChange,
    ClusterNotEnabled,
    FixedIpNotSupported,
    KubernetesUnsuited,
    NotFound,
    SubnetInUse,
)
from shared.messages.subjects import journal_stream
from shared.store.keys import lease_key
from tests.support.allocator_beside import allocator, allocator_process
from tests.support.allocators import Agent
from tests.support.cluster_topology import apart
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.operators import Operator
from tests.support.servers import NatsServer, RedisServer

QUICK = {"cluster_interval_s": 0.05}


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """Never enabled; neither service runs yet. Pods have subnets without nodes' ENIs."""
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        subnets=[],
        change=apart,
        cluster_interval_s=0.05,
        warm_addresses_min=1,
        warm_addresses_max=1,
    ) as found:
        yield found


async def test_an_enabled_cluster_serves_its_nodes_from_the_named_subnets(
    world: EniWorld,
) -> None:
    operator = Operator(world.bus)
    agent = await world.agent("node-1", "ins-one")
    async with world.manager(), allocator(world, **QUICK):
        before = await agent.want()

        status = await operator.enable("subnet-pods")

        await agent.want_until(idle=1)
        subnets = {each.subnet for each in agent.enis.values() if not each.is_primary}
    assert before.problem is not None
    assert "the cluster is not enabled" in before.problem
    assert subnets == {"subnet-pods"}
    assert "Kubernetes was not checked: none is named" in status.notes
    progress = [each.progress for each in operator.steps]
    assert progress[-1] is Progress.SUCCEED
    assert set(progress[:-1]) <= {Progress.RUNNING}


async def test_what_was_enabled_cannot_be_enabled_differently(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with world.manager(), allocator(world, **QUICK):
        first = await operator.enable("subnet-pods", pods_max=5)
        again = await operator.enable("subnet-pods", pods_max=5)

        with pytest.raises(CannotChange, match=r"is 5 since .* cannot become 6"):
            await operator.enable("subnet-pods", pods_max=6)

    assert again.cluster == first.cluster


async def test_with_fixed_ips_a_foreign_address_is_named_and_refused(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with world.manager(), allocator(world, **QUICK):
        with pytest.raises(SubnetInUse, match=r"subnet-small is not empty: .*10.0.2.5 \(CLB\)"):
            await operator.enable("subnet-small")
        failed = await operator.cluster()

        status = await operator.enable("subnet-small", has_fixed_ips=False)

    assert (failed.operation.progress, failed.operation.code) == (
        Progress.FAILED,
        "subnet_in_use",
    )
    assert not failed.is_enabled
    assert any("subnet-small is shared with others" in note for note in status.notes)


async def test_a_nodes_own_eni_makes_a_subnet_unfit_for_fixed_ips(world: EniWorld) -> None:
    async with world.manager(), allocator(world, **QUICK):
        with pytest.raises(SubnetInUse, match=r"subnet-a is not empty: 2 .*\(ENI eni-"):
            await Operator(world.bus).enable("subnet-a")


async def test_a_subnet_that_does_not_exist_is_named(world: EniWorld) -> None:
    async with world.manager(), allocator(world, **QUICK):
        with pytest.raises(NotFound, match="no such subnet at the cloud: subnet-none"):
            await Operator(world.bus).enable("subnet-pods", "subnet-none")


async def test_a_kubernetes_that_is_too_old_is_refused(world: EniWorld) -> None:
    async with world.manager(), allocator(world, **QUICK, kubernetes_version="1.8.13"):
        with pytest.raises(KubernetesUnsuited, match=r"1\.8\.13: 1\.10 or newer"):
            await Operator(world.bus).enable("subnet-pods")


async def test_a_fixed_address_is_refused_where_fixed_ips_are_not_supported(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager(), allocator(world, **QUICK):
        await Operator(world.bus).enable("subnet-pods", has_fixed_ips=False)
        await agent.want_until(idle=1)
        voice = Agent(world.bus, agent.node)
        await voice.register()

        with pytest.raises(FixedIpNotSupported, match=r"web-0@berth: .*Never is not supported"):
            await voice.acquire("web-0", candidate=str(min(agent.idle)))

        assert await world.redis.hlen(lease_key(CLUSTER, "fixed")) == 0


@pytest.mark.long
async def test_an_enabling_goes_on_after_its_allocator_was_killed(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with allocator_process(world, **QUICK) as first:
        following = asyncio.create_task(operator.enable("subnet-pods"))

        async def has_begun() -> bool:
            return any("subnet.inspect" in (each.reason or "") for each in operator.steps)

        await eventually(has_begun)  # there is no eni_manager to ask yet
        first.kill()
        await first.wait()

    async with world.manager(), allocator(world, **QUICK):
        status = await following

    assert status.cluster is not None
    assert status.cluster.is_enabled


@pytest.mark.long
async def test_an_enabling_goes_on_after_the_eni_manager_was_killed(world: EniWorld) -> None:
    operator = Operator(world.bus)
    await world.cloud.admin(
        "POST",
        "faults",
        {"action": "DescribeUsedIpAddress", "kind": "timeout_before", "hold_ms": 60_000},
    )
    first = await world.process()
    async with allocator(world, **QUICK):
        following = asyncio.create_task(operator.enable("subnet-pods"))

        async def has_begun() -> bool:
            return any("no answer" in (each.reason or "") for each in operator.steps)

        await eventually(has_begun)
        first.kill()
        await first.wait()
        async with world.manager():
            status = await following

    assert status.cluster is not None
    assert status.cluster.is_enabled


async def test_the_record_survives_the_loss_of_the_store(world: EniWorld) -> None:
    operator = Operator(world.bus)
    async with world.manager():
        async with allocator(world, **QUICK):
            before = (await operator.enable("subnet-pods", has_fixed_ips=False)).cluster
        await world.redis.flushall()

        async with allocator(world, **QUICK):
            after = await operator.cluster()

            copied = await world.redis.get(lease_key(CLUSTER, "cluster"))
    assert after == before
    assert copied is not None


async def test_the_record_survives_the_loss_of_the_journal(
    world: EniWorld, nats_server: NatsServer
) -> None:
    operator = Operator(world.bus)
    async with world.manager():
        async with allocator(world, **QUICK):
            before = (await operator.enable("subnet-pods")).cluster
        await delete_stream(world, journal_stream(CLUSTER))

        async with allocator(world, **QUICK):
            assert await operator.cluster() == before
        await world.redis.delete(lease_key(CLUSTER, "cluster"))

        async with allocator(world, **QUICK):
            assert await operator.cluster() == before


async def test_a_cluster_that_is_not_enabled_has_no_subnets_to_change(world: EniWorld) -> None:
    async with world.manager(), allocator(world, **QUICK):
        with pytest.raises(ClusterNotEnabled):
            await Operator(world.bus).add("subnet-pods")


async def delete_stream(world: EniWorld, name: str) -> None:
    client: Client = world.nats
    await client.jetstream().delete_stream(name)
