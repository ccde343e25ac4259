"""The eni_manager over a real bus, a real store and the simulated cloud's API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.addresses import AddressState
from shared.errors import NotFound
from shared.ids import Identity
from shared.messages.clusters import (
    NODE_INSTANCE,
    NODE_LIST,
    NODE_LOOK,
    SUBNET_LIST,
    InstanceCondition,
    NodeInstanceRequest,
    NodeListRequest,
    NodeLookRequest,
    NodesListed,
    SubnetListRequest,
)
from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent


async def test_a_node_that_joins_gets_an_eni_and_warm_stock(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")

    await agent.want_until(idle=3)

    [eni] = [each for each in agent.enis.values() if not each.is_primary]
    assert set(await world.cloud.addresses(eni.eni)) == {str(it) for it in agent.owned}
    assert [each.is_primary for each in agent.enis.values()].count(True) == 1
    assert eni.gateway == eni.subnet_cidr.network_address + 1


async def test_a_node_is_told_how_many_it_may_have_and_how_many_could_still_come(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=3)

    told = (await agent.want()).capacity

    assert told is not None
    assert (told.addresses_max, told.addresses_free) == (5, 2)
    assert (told.enis_max, told.enis_free) == (1, 0)


async def test_a_node_is_compared_with_the_cloud_as_soon_as_a_person_asks(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=3)
    [eni] = agent.secondary
    gone = sorted(agent.idle)[0]
    await world.cloud.call(
        "UnassignPrivateIpAddresses",
        NetworkInterfaceId=eni,
        PrivateIpAddresses=[{"PrivateIpAddress": str(gone)}],
    )
    request = NodeLookRequest(deadline=datetime.now(UTC) + timedelta(seconds=5), node="node-1")

    await world.bus.call(NODE_LOOK, request)

    async def is_seen() -> bool:
        listed = await world.bus.call(
            NODE_LIST, NodeListRequest(deadline=datetime.now(UTC) + timedelta(seconds=5))
        )
        return gone not in [it for each in listed.nodes[0].enis for it in each.addresses]

    await eventually(is_seen)


async def test_what_was_taken_unheard_and_is_a_lease_by_now_is_not_offered_again(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    agent.lost_answers = 1_000
    while not agent.owned:
        await agent.want()
    leased, *others = sorted(agent.owned)
    await world.open_epoch()
    await world.lease_moves(
        Identity("default", "web-0", "berth"),
        leased,
        subnet="subnet-pods",
        to_node="",
        generation=1 << 40,
        state=AddressState.RETAINED,
        eni=agent.owned[leased],
    )
    del agent.owned[leased]  # its pod has come and gone meanwhile
    agent.lost_answers = 0

    await agent.want_until(idle=3)

    assert leased not in agent.owned
    assert set(others) <= set(agent.owned)


async def test_stock_grows_in_one_shot_to_what_pods_wait_for(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=3)
    offers = agent.offers

    agent.bind(3)
    await agent.want_until(idle=2)

    assert len(agent.owned) == 5, "an instance of one core has five secondary addresses"
    assert agent.offers == offers + 1


async def test_what_is_idle_above_the_maximum_is_taken_back(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        eni_world(
            nats_server, redis_server, tmp_path, warm_addresses_min=1, warm_addresses_max=2
        ) as world,
        world.manager(),
    ):
        agent = await world.agent("node-1", "ins-one")
        agent.waiting = 4
        await agent.want_until(idle=5)

        agent.waiting = 0
        await agent.want_until(idle=2)

        [eni] = agent.secondary

        async def cloud_agrees() -> bool:
            return set(await world.cloud.addresses(eni)) == {str(it) for it in agent.owned}

        await eventually(cloud_agrees)

        assert len(agent.owned) == 2


async def test_a_quota_that_is_reached_is_told_with_its_numbers(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=3)
    agent.bind(3)
    await agent.want_until(idle=2)

    agent.bind(2)
    agent.waiting = 1
    problem = await told_problem(agent)

    assert "node-1 lacks 4 addresses" in problem
    assert "quota" in problem


async def test_a_full_subnet_is_told_with_its_numbers(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            subnets=["subnet-small"],
            warm_addresses_min=5,
            warm_addresses_max=5,
        ) as world,
        world.manager(),
    ):
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=4)

        problem = await told_problem(agent)

        assert "zone zone-1 has none left" in problem
        assert "subnet-small has 0 of" in problem


async def test_a_full_subnet_is_followed_by_the_next_of_the_zone(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    def roomier(topology: dict[str, object]) -> None:
        topology["instances"] = [
            {
                "id": "ins-one",
                "node": "node-1",
                "zone": "zone-1",
                "subnet": "subnet-a",
                "quota": {"enis": 3, "addresses_per_eni": 200},
            }
        ]
        topology["limits"] = {"addresses_per_detached_eni": 250}

    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            change=roomier,
            subnets=["subnet-small", "subnet-a"],
            warm_addresses_min=210,
            warm_addresses_max=256,
            cloud_rates_per_s={"DescribeNetworkInterfaces": 1000},
        ) as world,
        world.manager(),
    ):
        agent = await world.agent("node-1", "ins-one")

        await agent.want_until(idle=210, timeout_s=20)

        assert len(agent.secondary) == 2


async def test_a_zone_without_a_subnet_is_told_when_the_node_joins(world: EniWorld) -> None:
    agent = await world.agent("node-3", "ins-far")

    answer = await agent.want()

    assert answer.problem is not None
    assert "zone-2, which has no container subnet" in answer.problem
    assert "zones that have one: zone-1" in answer.problem
    assert agent.owned == {}


async def test_an_instance_that_does_not_exist_is_told(world: EniWorld) -> None:
    agent = await world.agent("node-9", "ins-nine")

    answer = await agent.want()

    assert answer.problem is not None
    assert "ins-nine" in answer.problem


async def test_nodes_are_listed_page_by_page_in_the_order_of_their_names(
    world: EniWorld,
) -> None:
    for name in ("node-2", "node-1", "node-3"):
        await (await world.agent(name, "ins-one")).want()

    pages: list[NodesListed] = []
    after = None
    while not pages or not pages[-1].is_last:
        deadline = datetime.now(UTC) + timedelta(seconds=5)
        request = NodeListRequest(after=after, limit=2, deadline=deadline)
        pages.append(await world.bus.call(NODE_LIST, request))
        after = pages[-1].nodes[-1].node

    names = [[each.node for each in page.nodes] for page in pages]
    assert names == [["node-1", "node-2"], ["node-3"]]


async def test_nodes_and_subnets_are_listed(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=3)
    deadline = datetime.now(UTC) + timedelta(seconds=5)

    nodes = await world.bus.call(NODE_LIST, NodeListRequest(deadline=deadline))
    subnets = await world.bus.call(SUBNET_LIST, SubnetListRequest(deadline=deadline))

    [node] = nodes.nodes
    assert (node.node, node.zone, node.enis_max) == ("node-1", "zone-1", 1)
    listed = [each.addresses for each in node.enis if each.eni == agent.secondary[0]]
    assert listed == [sorted(agent.owned)]
    [subnet] = subnets.subnets
    assert nodes.is_last
    assert (subnet.subnet, subnet.free) == ("subnet-a", subnet.total - 2 - 1 - 3)


@pytest.mark.parametrize(
    ("verb", "condition"),
    [
        (None, InstanceCondition.RUNNING),
        ("stop", InstanceCondition.STOPPED),
        ("terminate", InstanceCondition.GONE),
    ],
)
async def test_what_became_of_a_nodes_instance_is_the_clouds_word_now(
    world: EniWorld, verb: str | None, condition: InstanceCondition
) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=3)
    if verb is not None:
        await world.cloud.admin("POST", f"instances/ins-one/{verb}")

    deadline = datetime.now(UTC) + timedelta(seconds=5)
    request = NodeInstanceRequest(deadline=deadline, node="node-1")
    found = await world.bus.call(NODE_INSTANCE, request)

    assert (found.instance, found.condition) == ("ins-one", condition)


async def test_of_a_node_that_was_never_heard_nothing_is_said(world: EniWorld) -> None:
    request = NodeInstanceRequest(
        deadline=datetime.now(UTC) + timedelta(seconds=5), node="node-9"
    )

    with pytest.raises(NotFound, match="node-9 was never heard of"):
        await world.bus.call(NODE_INSTANCE, request)


async def told_problem(agent: StandInAgent) -> str:
    """The first problem that the agent is told of."""
    told: list[str] = []

    async def is_told() -> bool:
        problem = (await agent.want()).problem
        told.extend([problem] if problem else [])
        return bool(told)

    await eventually(is_told)
    return told[0]
