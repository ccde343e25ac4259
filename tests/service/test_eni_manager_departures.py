"""Instances that end, ENIs in no book, and retained addresses that stay held meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from tencentcloud.common.exception import TencentCloudSDKException

from shared.addresses import AddressState
from shared.ids import Identity
from shared.messages.base import IdentityFields
from shared.messages.clusters import NODE_INSTANCE, InstanceCondition, NodeInstanceRequest
from shared.messages.moves import ADDRESS_RECLAIM, ReclaimRequest
from shared.store.keys import lease_key
from tests.support.eni_books import cloud_enis, images
from tests.support.eni_world import CLUSTER, EniWorld, MoveArguments, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

WEB_0 = Identity("default", "web-0", "berth")
RETAINED = MoveArguments(subnet="subnet-a", to_node="node-1", generation=6)
_LOOKS = 5  # more than the sweeper needs to find an orphan, and to end it
MOVE = MoveArguments(subnet="subnet-a", to_node="node-2", generation=7)


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """No eni_manager runs yet."""
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        observe_interval_s=0.3,
        instance_gone_after_s=0.2,
        sweep_interval_s=0.2,
        sweep_grace_s=0.3,
    ) as found:
        yield found


async def a_retained_address(world: EniWorld, agent: StandInAgent) -> IPv4Address:
    """Its pod is away, its lease stays."""
    address = min(agent.idle)
    del agent.owned[address]
    await world.lease_moves(WEB_0, address, **RETAINED, state=AddressState.RETAINED)
    return address


async def terminate(world: EniWorld, agent: StandInAgent) -> None:
    await agent.stop()
    status, _ = await world.cloud.admin("POST", f"instances/{agent.instance}/terminate")
    assert status == 200


async def wait_until_it_left(world: EniWorld, node: str) -> None:
    async def has_left() -> bool:
        return node not in [image.node.node for image in await images(world)]

    await eventually(has_left)


async def is_held_alone(world: EniWorld, address: IPv4Address) -> bool:
    return list((await cloud_enis(world)).values()) == [(None, frozenset({str(address)}))]


async def one_that_is_held_alone(world: EniWorld, agent: StandInAgent) -> IPv4Address:
    """All that is left of the agent's node, whose instance was terminated."""
    await agent.want_until(idle=3)
    address = await a_retained_address(world, agent)
    await terminate(world, agent)
    await wait_until_it_left(world, "node-1")
    await eventually(partial(is_held_alone, world, address))
    return address


async def foreigner_takes(world: EniWorld, address: IPv4Address) -> str:
    """The code with which the cloud refuses another tenant of the subnet."""
    try:
        await world.cloud.call_as_foreigner(
            "CreateNetworkInterface",
            VpcId="vpc-one",
            SubnetId="subnet-a",
            NetworkInterfaceName="foreign",
            PrivateIpAddresses=[{"PrivateIpAddress": str(address)}],
        )
    except TencentCloudSDKException as error:
        return str(error.code)
    return "taken"


async def test_a_retained_address_is_refused_to_a_foreign_tenant(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        address = await a_retained_address(world, agent)

        assert await foreigner_takes(world, address) == "ResourceInUse"
        assert await foreigner_takes(world, IPv4Address("10.0.1.200")) == "taken"


async def test_when_an_instance_is_terminated_only_what_leases_name_is_held(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        address = await one_that_is_held_alone(world, agent)
        assert await foreigner_takes(world, address) == "ResourceInUse"


async def test_looks_that_miss_a_held_address_do_not_let_it_go(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        address = await one_that_is_held_alone(world, agent)
        asked = 0

        async def was_lied_to() -> bool:
            nonlocal asked
            asked += 1
            lie = {"action": "DescribeNetworkInterfaces", "kind": "gaps"}
            _, told = await world.cloud.admin("POST", "faults", lie)
            return told["waiting"] == asked - _LOOKS

        await eventually(was_lied_to)
        await world.cloud.admin("DELETE", "faults")
        assert await is_held_alone(world, address)


async def test_an_address_held_for_a_node_that_left_comes_to_the_next_node(
    world: EniWorld,
) -> None:
    world.settings |= {"warm_addresses_min": 0, "warm_addresses_max": 3}
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    one.waiting = 3
    async with world.manager():
        await one.want_until(idle=3)
        await two.want()
        address = await a_retained_address(world, one)
        await terminate(world, one)
        await wait_until_it_left(world, "node-1")
        await world.lease_moves(WEB_0, address, **MOVE)

        moved = await world.move_until_answered(WEB_0, address, **MOVE)

        assert [owner for owner, _ in (await cloud_enis(world)).values()] == ["ins-two"]
        assert str(address) in await world.cloud.addresses(moved.eni.eni)
        assert address not in two.owned, "it is the lease's"


async def test_the_instance_of_a_node_that_left_stays_known(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        await terminate(world, agent)
        await wait_until_it_left(world, "node-1")

        deadline = datetime.now(UTC) + timedelta(seconds=5)
        request = NodeInstanceRequest(deadline=deadline, node="node-1")
        found = await world.bus.call(NODE_INSTANCE, request)

        assert (found.instance, found.condition) == ("ins-one", InstanceCondition.GONE)


async def test_the_lease_of_a_node_that_left_can_end(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        address = await a_retained_address(world, agent)
        await terminate(world, agent)
        await wait_until_it_left(world, "node-1")
        expired = MoveArguments(subnet="subnet-a", to_node="node-1", generation=8)
        await world.lease_moves(WEB_0, address, **expired, state=AddressState.EXPIRED)

        await world.bus.call(
            ADDRESS_RECLAIM,
            ReclaimRequest(
                deadline=datetime.now(UTC) + timedelta(seconds=5),
                identity=IdentityFields.of(WEB_0),
                address=address,
                node="node-1",
                generation=8,
            ),
        )
        for noun, field in (("fixed", WEB_0.token), ("addresses", str(address))):
            await world.redis.hdel(lease_key(CLUSTER, noun), field)

        async def is_all_gone() -> bool:
            return await cloud_enis(world) == {}

        await eventually(is_all_gone)


async def test_a_node_of_the_same_name_on_a_new_instance_joins_anew(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        await terminate(world, agent)
        await wait_until_it_left(world, "node-1")

        again = await world.agent("node-1", "ins-two")
        again.incarnation = agent.incarnation + 1
        await again.want_until(idle=3)

        async def is_one_left() -> bool:
            return [owner for owner, _ in (await cloud_enis(world)).values()] == ["ins-two"]

        await eventually(is_one_left)


async def test_a_stopped_instance_keeps_its_enis(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        before = await cloud_enis(world)
        await world.cloud.admin("POST", "instances/ins-one/stop")
        for _ in range(5):
            await agent.want_quietly()

        await world.cloud.admin("POST", "instances/ins-one/start")
        agent.bind(1)
        await agent.want_until(idle=3)

        assert before.keys() == (await cloud_enis(world)).keys()


async def tagged(world: EniWorld, **tags: str) -> str:
    return await world.cloud.created(
        Tags=[{"Key": key.replace("_", "-"), "Value": value} for key, value in tags.items()]
    )


async def exists(world: EniWorld, eni: str) -> bool:
    found = await world.cloud.call(
        "DescribeNetworkInterfaces",
        Filters=[{"Name": "network-interface-id", "Values": [eni]}],
    )
    return bool(found.TotalCount)  # type: ignore[attr-defined]


async def test_an_eni_with_our_tags_that_no_book_knows_is_deleted_and_others_stay(
    world: EniWorld,
) -> None:
    orphan = await tagged(world, berth_cluster=CLUSTER, berth_intent="lost")
    others = [
        await tagged(world, berth_cluster="another", berth_intent="theirs"),
        await tagged(world, owner="somebody"),
    ]
    async with world.manager():

        async def is_gone() -> bool:
            return not await exists(world, orphan)

        await eventually(is_gone)
        assert [await exists(world, each) for each in others] == [True, True]


async def test_v3_4_7_a_dry_run_of_the_sweep_deletes_nothing(
    world: EniWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.settings["sweep"] = "dry_run"
    orphan = await tagged(world, berth_cluster=CLUSTER, berth_intent="lost")
    async with world.manager():

        async def is_told() -> bool:
            return "orphan would be treated" in caplog.messages

        await eventually(is_told)
        assert await exists(world, orphan)


async def test_an_eni_of_ours_on_an_instance_without_a_node_is_left_alone(
    world: EniWorld, caplog: pytest.LogCaptureFixture
) -> None:
    eni = await tagged(world, berth_cluster=CLUSTER, berth_intent="lost")
    await world.cloud.call(
        "AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId="ins-two"
    )
    async with world.manager():

        async def is_told() -> bool:
            return (
                caplog.messages.count(
                    "ENI of ours is on an instance that has no node: left alone"
                )
                >= 3
            )

        await eventually(is_told)
        assert await exists(world, eni)
        agent = await world.agent("node-2", "ins-two")
        await agent.want_until(idle=3)
        assert agent.secondary == [eni], "taken up when its node joins"
