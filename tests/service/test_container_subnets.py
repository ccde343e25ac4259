"""Subnets come, close and go while nodes are served, and nobody restarts for it.

Allocator, eni_manager, bus, store and cloud are real; only the nodes' agents stand in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.subscription import Subscription
from prometheus_client import REGISTRY

from shared.clusters import SubnetState
from shared.errors import ClusterChanging, NotFound, SubnetInUse
from tests.support.allocator_beside import allocator
from tests.support.allocators import Agent
from tests.support.cluster_topology import apart
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.operators import Operator
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

QUICK = {"cluster_interval_s": 0.05}


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """Both services run; the cluster is enabled with one subnet of zone-1, for one pod more
    than an instance takes."""
    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            subnets=[],
            change=apart,
            cluster_interval_s=0.05,
            foreign_interval_s=0.2,
            warm_addresses_min=2,
            warm_addresses_max=2,
        ) as found,
        found.manager(),
        allocator(found, **QUICK),
    ):
        await Operator(found.bus).enable("subnet-pods", pods_max=11)
        yield found


def subnets_of(agent: StandInAgent) -> set[str]:
    """Those that its addresses are of."""
    return {agent.enis[eni].subnet for eni in agent.owned.values()}


async def test_a_node_is_served_as_soon_as_its_zone_has_a_subnet(world: EniWorld) -> None:
    operator = Operator(world.bus)
    agent = await world.agent("node-3", "ins-far")
    before = (await agent.want()).problem

    await operator.add("subnet-far")

    await agent.want_until(idle=2)
    assert before is not None
    assert "node-3 is in zone zone-2, which has no container subnet" in before
    assert subnets_of(agent) == {"subnet-far"}

    async def is_well() -> bool:
        return (await operator.node("node-3")).problem is None

    await eventually(is_well)


@pytest.mark.parametrize(
    ("subnet", "error", "said"),
    [
        ("subnet-none", NotFound, "no such subnet at the cloud: subnet-none"),
        ("subnet-small", SubnetInUse, r"subnet-small is not empty: .*10.0.2.5 \(CLB\)"),
        ("subnet-a", SubnetInUse, r"subnet-a is not empty: 2 addresses are not ours"),
    ],
)
async def test_a_subnet_that_cannot_serve_is_not_added(
    world: EniWorld, subnet: str, error: type[Exception], said: str
) -> None:
    operator = Operator(world.bus)

    with pytest.raises(error, match=said):
        await operator.add(subnet)

    assert list(await operator.subnets()) == ["subnet-pods"]


async def test_a_cordoned_subnet_gives_no_new_addresses_and_keeps_the_old(
    world: EniWorld,
) -> None:
    operator = Operator(world.bus)
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=2)
    await operator.set("subnet-pods", SubnetState.CORDONED)
    await eventually(lambda: is_listed_as(operator, SubnetState.CORDONED))

    agent.bind(2)
    told = await told_problem(agent)
    owned = set(agent.owned)
    await operator.set("subnet-pods", SubnetState.OPEN)
    await agent.want_until(idle=2)

    assert "subnet-pods is cordoned" in told
    assert len(owned) == 2
    assert owned < set(agent.owned)


async def test_a_drained_subnet_is_left_by_all_but_its_pods_and_then_removed(
    world: EniWorld,
) -> None:
    operator = Operator(world.bus)
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=2)
    await operator.add("subnet-more")
    [kept] = agent.bind(1)

    await operator.set("subnet-pods", SubnetState.DRAINING)

    async def only_the_pod_is_left() -> bool:
        await agent.want()
        old = [it for it, eni in agent.owned.items() if agent.enis[eni].subnet == "subnet-pods"]
        return old == [kept] and len(agent.idle) == 2

    await eventually(only_the_pod_is_left)
    assert {agent.enis[agent.owned[each]].subnet for each in agent.idle} == {"subnet-more"}
    with pytest.raises(SubnetInUse, match="1 of our ENIs with 2 addresses"):
        await operator.remove("subnet-pods")

    agent.bound.clear()

    async def is_empty() -> bool:
        await agent.want()
        return (await operator.subnets())["subnet-pods"].enis == 0

    await eventually(is_empty)
    await eventually(lambda: removed(operator, "subnet-pods"))

    async def is_gone() -> bool:
        return list(await operator.subnets()) == ["subnet-more"]

    await eventually(is_gone)
    assert {each.subnet for each in agent.enis.values() if not each.is_primary} == {
        "subnet-more"
    }
    assert await enis_in(world, "subnet-pods") == []


async def test_a_lease_keeps_its_subnet_from_being_removed(world: EniWorld) -> None:
    operator = Operator(world.bus)
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=2)
    await operator.add("subnet-more")
    voice = Agent(world.bus, agent.node)
    await voice.register()
    address = min(agent.idle)
    request = voice.acquire_request("web-0", candidate=str(address))
    assert request.candidate is not None
    candidate = request.candidate.model_copy(update={"subnet": "subnet-pods"})
    got = await voice.send(request.model_copy(update={"candidate": candidate}))
    agent.fixed[address] = agent.owned.pop(address)
    await voice.release("web-0", got.generation)

    await operator.set("subnet-pods", SubnetState.DRAINING)

    with pytest.raises(SubnetInUse, match="1 fixed leases are on its addresses"):
        await operator.remove("subnet-pods")


async def test_the_last_subnet_is_not_removed(world: EniWorld) -> None:
    operator = Operator(world.bus)
    status = await operator.set("subnet-pods", SubnetState.DRAINING)

    with pytest.raises(SubnetInUse, match="is the cluster's last"):
        await operator.remove("subnet-pods")

    assert "no subnet is open: no node gets new addresses" in status.notes


async def test_an_option_of_a_subnet_is_shown_where_it_is_listed(world: EniWorld) -> None:
    operator = Operator(world.bus)

    await operator.set("subnet-pods", reclaims=True)

    async def is_listed() -> bool:
        return (await operator.subnets())["subnet-pods"].reclaims_under_pressure

    await eventually(is_listed)
    assert (await operator.cluster()).subnets[0].reclaims_under_pressure


async def test_two_changes_at_once_are_both_kept(world: EniWorld) -> None:
    operator = Operator(world.bus)

    await asyncio.gather(
        operator.add("subnet-more"),
        operator.add("subnet-far"),
        operator.set("subnet-pods", reclaims=True),
    )

    cluster = await operator.cluster()
    assert {each.subnet for each in cluster.subnets} == {
        "subnet-pods",
        "subnet-more",
        "subnet-far",
    }
    assert cluster.subnets[0].reclaims_under_pressure


async def is_listed_as(operator: Operator, state: SubnetState) -> bool:
    """The eni_manager acts on what it lists."""
    return (await operator.subnets())["subnet-pods"].state is state


async def told_problem(agent: StandInAgent) -> str:
    told: list[str] = []

    async def is_told() -> bool:
        problem = (await agent.want()).problem
        told.extend([problem] if problem else [])
        return bool(told)

    await eventually(is_told)
    return told[0]


async def removed(operator: Operator, subnet: str) -> bool:
    try:
        await operator.remove(subnet)
    except ClusterChanging:  # until every replica can know of the drain
        return False
    return True


async def enis_in(world: EniWorld, subnet: str) -> list[str]:
    filters = [{"Name": "subnet-id", "Values": [subnet]}]
    found = await world.cloud.call("DescribeNetworkInterfaces", Filters=filters)
    return [each.NetworkInterfaceId for each in found.NetworkInterfaceSet]  # type: ignore[attr-defined]


async def test_a_foreign_address_that_comes_later_is_named(world: EniWorld) -> None:
    operator = Operator(world.bus)
    watched = await events_of(world, "subnet")

    status, _ = await world.cloud.admin(
        "POST",
        "foreign-addresses",
        {"subnet": "subnet-pods", "address": "10.0.4.77", "type": "CLB"},
    )

    async def is_listed() -> bool:
        return (await operator.subnets())["subnet-pods"].foreign_count == 1

    assert status < 300
    await eventually(is_listed)
    [foreign] = (await operator.subnets())["subnet-pods"].foreign
    assert (str(foreign.address), foreign.kind) == ("10.0.4.77", "CLB")
    event = await watched.next_msg(timeout=5)
    assert event.subject.endswith("event.subnet.foreign_found")
    assert b"10.0.4.77 (CLB)" in event.data
    assert sample("berth_eni_manager_subnet_foreign_addresses_count") == 1


async def test_a_node_below_the_pod_maximum_is_told_of_and_served(world: EniWorld) -> None:
    operator = Operator(world.bus)
    watched = await events_of(world, "node")

    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=2)

    node = await operator.node("node-1")
    assert node.problem is None
    assert node.warning is not None
    assert "node-1 takes 10 pods, below the cluster's maximum of 11" in node.warning
    told = [(await watched.next_msg(timeout=5)).subject.rpartition(".")[2] for _ in range(2)]
    assert "warned" in told


async def events_of(world: EniWorld, noun: str) -> Subscription:
    """Those that are told from now on."""
    subscription = await world.nats.subscribe(f"berth.v1.{CLUSTER}.event.{noun}.*")
    await world.nats.flush()
    return subscription


def sample(name: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"subnet": "subnet-pods"})
