"""ENIs that one pod has as a whole, over a real bus, a real store and the simulated cloud."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from services.eni_manager.adapters.redis_capacities import RedisCapacities
from services.eni_manager.domain.capacities import annotation_scope
from shared.capacities import CapacityWish
from shared.errors import Unavailable
from shared.ids import NodeName
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent


def roomy(document: dict[str, object]) -> None:
    """Instances that may have three ENIs beside their own."""
    document["instances"] = [
        {"id": "ins-one", "node": "node-1", "zone": "zone-1", "subnet": "subnet-a", "cpu": 4},
        {"id": "ins-two", "node": "node-2", "zone": "zone-1", "subnet": "subnet-a", "cpu": 4},
        {"id": "ins-far", "node": "node-3", "zone": "zone-2", "subnet": "subnet-b", "cpu": 4},
    ]
    limits = document["limits"]
    assert isinstance(limits, dict)
    document["limits"] = limits | {"enis_per_vpc": 20}


@pytest.fixture
async def make(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def make(**settings: object) -> EniWorld:
            return await stack.enter_async_context(
                eni_world(nats_server, redis_server, tmp_path, change=roomy, **settings)
            )

        yield make


async def enis_of(world: EniWorld, purpose: str) -> dict[str, str | None]:
    """Those at the cloud that were made for this: the instance that each is attached to."""
    found: Any = await world.cloud.call(
        "DescribeNetworkInterfaces",
        Filters=[{"Name": "tag:berth-purpose", "Values": [purpose]}],
    )
    return {
        each.NetworkInterfaceId: each.Attachment.InstanceId if each.Attachment else None
        for each in found.NetworkInterfaceSet
    }


async def gone(world: EniWorld, agent: StandInAgent) -> bool:
    with suppress(Unavailable):  # no manager may live at this moment
        await agent.want()
    return await enis_of(world, "exclusive") == {}


async def test_an_eni_is_made_for_a_pod_that_waits_for_one(make: Any) -> None:
    world = await make()
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        assert await enis_of(world, "exclusive") == {}
        agent.whole_waiting = 1

        await agent.want_so(lambda: len(agent.whole) == 1)

        (address,) = agent.whole
        ((eni, instance),) = (await enis_of(world, "exclusive")).items()
        told = agent.enis[agent.owned[address]]
        assert (told.eni, told.is_exclusive, told.primary_address) == (eni, True, address)
        assert instance == "ins-one"
        assert await world.cloud.addresses(eni) == [], "the pod has all of it"
        assert len(agent.idle) == 3


async def test_an_idle_eni_above_the_window_is_deleted_once_its_agent_gave_it_back(
    make: Any,
) -> None:
    world = await make()
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        agent.whole_waiting = 1
        await agent.want_so(lambda: len(agent.whole) == 1)
        address = agent.bind_whole()
        await agent.want()
        assert list(agent.whole) == [address], "one that a pod has stays"
        agent.bound.clear()  # the pod went, and its address has cooled

        await eventually(lambda: gone(world, agent))

        assert agent.whole == set()
        await agent.want_so(lambda: all(not each.is_exclusive for each in agent.enis.values()))


async def test_idle_enis_beyond_a_nodes_limit_are_given_back(make: Any) -> None:
    nothing_shared = {"warm_addresses_min": 0, "warm_addresses_max": 0}
    world = await make(warm_enis_min=3, warm_enis_max=3, **nothing_shared)
    agent = await world.agent("node-1", "ins-one")
    capacities = RedisCapacities(world.redis, cluster=CLUSTER)
    async with world.manager():
        await agent.want_so(lambda: len(agent.whole) == 3)
        kept = agent.bind_whole()
        await agent.want()

        await capacities.put(annotation_scope(NodeName("node-1")), CapacityWish(enis_max=1))

        async def has_one() -> bool:
            with suppress(Unavailable):
                await agent.want()
            return len(await enis_of(world, "exclusive")) == 1

        await eventually(has_one)
        assert list(agent.whole) == [kept], "the one that a pod has stays"


async def test_the_warm_window_is_kept_and_follows_the_pods(make: Any) -> None:
    world = await make(warm_enis_min=1, warm_enis_max=1)
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_so(lambda: len(agent.whole) == 1)
        agent.bind_whole()
        await agent.want_so(lambda: len(agent.whole) == 2)
        agent.bound.clear()

        await agent.want_so(lambda: len(agent.whole) == 1)

        async def is_one() -> bool:
            return len(await enis_of(world, "exclusive")) == 1

        await eventually(is_one)


async def test_shared_and_whole_enis_share_the_instances_slots(make: Any) -> None:
    world = await make()
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        agent.whole_waiting = 3

        await agent.want_so(lambda: len(agent.whole) == 2)
        for _ in range(2):
            agent.bind_whole()

        async def is_told() -> bool:
            said = (await agent.want()).problem or ""
            return "lacks 1 ENIs for pods that have one of their own: all 3" in said

        await eventually(is_told)
        assert len(await enis_of(world, "shared")) == 1


async def test_an_idle_whole_eni_gives_its_slot_to_pods_that_wait_for_shared_addresses(
    make: Any,
) -> None:
    world = await make(warm_enis_min=2, warm_enis_max=2)
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_so(lambda: len(agent.idle) == 3 and len(agent.whole) == 2)
        agent.waiting = 10

        await agent.want_so(lambda: len(agent.idle) >= 10)

        assert len(await enis_of(world, "shared")) == 2


@pytest.mark.long
@pytest.mark.parametrize(
    "action",
    ["CreateNetworkInterface", "AttachNetworkInterface"],
)
async def test_a_killed_manager_leaves_an_eni_that_the_next_one_finishes(
    make: Any, action: str
) -> None:
    world = await make()
    agent = await world.agent("node-1", "ins-one")
    first = await world.process()
    await agent.want_until(idle=3)
    await slow(world, action)
    agent.whole_waiting = 1
    await agent.want()

    async def is_begun() -> bool:
        return len(await enis_of(world, "exclusive")) == 1

    await eventually(is_begun)
    first.kill()
    await world.process()
    await agent.want_so(lambda: len(agent.whole) == 1)

    assert list((await enis_of(world, "exclusive")).values()) == ["ins-one"]


@pytest.mark.long
@pytest.mark.parametrize("action", ["DetachNetworkInterface", "DeleteNetworkInterface"])
async def test_a_killed_manager_leaves_a_removal_that_the_next_one_finishes(
    make: Any, action: str
) -> None:
    world = await make()
    agent = await world.agent("node-1", "ins-one")
    first = await world.process()
    agent.whole_waiting = 1
    await agent.want_so(lambda: len(agent.whole) == 1)
    await slow(world, action)
    agent.whole_waiting = 0
    await agent.want_so(lambda: not agent.whole)
    first.kill()
    await world.process()

    await eventually(lambda: gone(world, agent))

    await agent.want_so(lambda: all(not each.is_exclusive for each in agent.enis.values()))


async def slow(world: EniWorld, action: str) -> None:
    await world.cloud.admin(
        "POST", "latency", {"effects": {"actions": {action: {"median_ms": 1500}}}}
    )


async def test_an_agent_whose_book_was_lost_is_offered_its_whole_eni_again(make: Any) -> None:
    world = await make(warm_enis_min=1, warm_enis_max=1)
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_so(lambda: len(agent.whole) == 1 and len(agent.idle) == 3)
        had = set(agent.owned)
        agent.owned.clear()
        agent.incarnation += 1

        await agent.want_so(lambda: set(agent.owned) == had)


async def test_many_pods_that_wait_at_once_get_their_enis_together(make: Any) -> None:
    world = await make()
    agents = await asyncio.gather(
        world.agent("node-1", "ins-one"), world.agent("node-2", "ins-two")
    )
    async with world.manager():
        for agent in agents:
            agent.whole_waiting = 2
        await asyncio.gather(
            *(agent.want_so(lambda it=agent: len(it.whole) == 2) for agent in agents)
        )

        made = await enis_of(world, "exclusive")

        assert sorted(filter(None, made.values())) == ["ins-one"] * 2 + ["ins-two"] * 2
        every: set[IPv4Address] = agents[0].whole | agents[1].whole
        assert len(every) == 4
