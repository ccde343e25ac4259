"""Faults that the change log of TKE's own component tells of, each as a test of ours.

Those that concern ENIs. Named by the version that mended them there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.capacities import CloudCalls
from shared.messages.capacities import CAPACITY_SET, CapacitySetRequest
from tests.support.cloud_gate import cloud_gate
from tests.support.eni_books import cloud_enis, disagreements, images
from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent


def small_quota(topology: dict[str, object]) -> None:
    """Two secondary ENIs of three pod addresses each, on two instances."""
    topology["instances"] = [
        {
            "id": f"ins-{name}",
            "node": f"node-{at}",
            "zone": "zone-1",
            "subnet": "subnet-a",
            "quota": {"enis": 3, "addresses_per_eni": 4},
        }
        for at, name in enumerate(("one", "two"), 1)
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
        change=small_quota,
        warm_addresses_min=1,
        warm_addresses_max=2,
        empty_eni_rest_s=0,
        observe_interval_s=0.5,
        sweep_interval_s=0.5,
        sweep_grace_s=0.5,
    ) as found:
        yield found


async def settle(world: EniWorld, *agents: StandInAgent) -> None:
    """Until the books agree, with the agents' beats as they come."""
    told: list[str] = []

    async def is_settled() -> bool:
        for agent in agents:
            await agent.want_quietly()
        told[:] = await disagreements(world, agents)
        return not told

    try:
        await eventually(is_settled)
    except (AssertionError, TimeoutError):
        pytest.fail(str(told))


async def with_two_enis(world: EniWorld) -> StandInAgent:
    agent = await world.agent("node-1", "ins-one")
    agent.waiting = 3
    await agent.want_until(idle=4)
    return agent


async def fault(world: EniWorld, action: str, kind: str, **more: object) -> None:
    status, _ = await world.cloud.admin(
        "POST", "faults", {"action": action, "kind": kind, **more}
    )
    assert status == 200


async def test_v3_2_5_an_address_that_only_the_cloud_knows_is_not_wasted(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=1)
        await world.cloud.call(
            "AssignPrivateIpAddresses",
            NetworkInterfaceId=agent.secondary[0],
            SecondaryPrivateIpAddressCount=1,
        )

        await agent.want_until(idle=2)
        await settle(world, agent)


async def test_v3_2_6_nodes_that_join_and_shrink_at_once_all_come_to_their_end(
    world: EniWorld,
) -> None:
    async with world.manager():
        one = await with_two_enis(world)
        two = await world.agent("node-2", "ins-two")
        one.waiting, two.waiting = 0, 3

        await asyncio.gather(one.want_until(idle=2), two.want_until(idle=4))
        await settle(world, one, two)


async def test_v3_3_1_tasks_that_the_cloud_does_not_know_delay_nobody(world: EniWorld) -> None:
    await fault(world, "DescribeVpcTaskResult", "refuse", count=1000, code="ResourceNotFound")
    async with world.manager():
        agent = await with_two_enis(world)
        agent.waiting = 0

        await agent.want_until(idle=2)
        await settle(world, agent)


async def test_v3_3_1_an_eni_whose_creation_fails_is_made_again(world: EniWorld) -> None:
    await fault(world, "CreateNetworkInterface", "task_failed")
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=1, timeout_s=25)
        await settle(world, agent)


async def test_v3_3_1_an_eni_that_is_gone_already_can_be_released(world: EniWorld) -> None:
    async with world.manager():
        agent = await with_two_enis(world)
        enis = list(agent.owned.values())
        emptier = min(agent.secondary, key=enis.count)
        await fault(world, "DetachNetworkInterface", "delay", hold_ms=1000)
        agent.waiting = 0
        await agent.want_until(idle=2)

        await world.cloud.admin("DELETE", f"enis/{emptier}")

        await settle(world, agent)
        assert emptier not in await cloud_enis(world)


async def test_v3_3_4_a_detachment_that_is_refused_is_not_asked_for_without_end(
    world: EniWorld,
) -> None:
    await fault(
        world, "DetachNetworkInterface", "refuse", count=50, code="UnsupportedOperation"
    )
    async with cloud_gate(world.cloud.url) as (gate, url):
        world.settings["cloud_url"] = url
        process = await world.process()
        agent = await with_two_enis(world)
        gate.arm(None, -1, process)
        agent.waiting = 0
        await agent.want_until(idle=2)

        async def is_asked() -> bool:
            return "DetachNetworkInterface" in gate.calls

        await eventually(is_asked)
        agent.bind(1)
        await agent.want_until(idle=1)
        for _ in range(5):
            await agent.want()

        assert gate.calls.count("DetachNetworkInterface") == 1, "the next try waits"


async def test_v3_3_4_an_eni_in_use_is_not_unbound(world: EniWorld) -> None:
    async with world.manager():
        agent = await with_two_enis(world)
        agent.bind(4)
        agent.waiting = 0
        await agent.want_until(idle=1)

        await settle(world, agent)

        carried = {agent.owned[address] for address in agent.bound}
        assert carried <= (await cloud_enis(world)).keys()


async def test_v3_3_4_an_eni_whose_primary_address_a_pod_has_is_not_released(
    world: EniWorld,
) -> None:
    """Not even while more pods wait than the other ENI has places for."""
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        agent.whole_waiting = 1
        await agent.want_so(lambda: len(agent.whole) == 1)
        used = agent.bind_whole()
        agent.waiting = 5
        await agent.want_until(idle=3)
        for _ in range(5):
            await agent.want()

        assert agent.whole == {used}
        instance, _ = (await cloud_enis(world))[agent.owned[used]]
        assert instance == "ins-one"


async def test_v3_3_4_an_old_node_gets_what_another_gives_back_to_a_short_subnet(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        subnets=["subnet-small"],
        warm_addresses_min=0,
        warm_addresses_max=0,
        empty_eni_rest_s=0,
    ) as world:
        one, two = (
            await world.agent("node-1", "ins-one"),
            await world.agent("node-2", "ins-two"),
        )
        one.waiting, two.waiting = 4, 1
        async with world.manager():
            await one.want_until(idle=4)
            one.waiting = 0

            await asyncio.gather(one.want_until(idle=0), two.want_until(idle=1))


async def test_v3_3_5_what_is_known_of_an_eni_is_looked_at_again(world: EniWorld) -> None:
    """Somebody takes one off its instance: no book keeps it, and nobody else gets it."""
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=1)
        [taken] = agent.secondary
        await world.cloud.call(
            "DetachNetworkInterface", NetworkInterfaceId=taken, InstanceId="ins-one"
        )

        await agent.want_so(lambda: taken not in agent.enis)
        for address in [it for it, eni in agent.owned.items() if eni == taken]:
            del agent.owned[address]  # as an agent does whose link is gone too

        async def is_swept() -> bool:
            await agent.want()
            return taken not in await cloud_enis(world)

        await eventually(is_swept)
        await agent.want_until(idle=1)
        await settle(world, agent)


async def test_v3_3_7_switched_off_for_an_upgrade_nothing_is_unbound(world: EniWorld) -> None:
    async with world.manager():
        agent = await with_two_enis(world)
        await set_calls(world, CloudCalls.NONE)
        agent.waiting = 0
        await agent.want()
    before = await cloud_enis(world)
    async with world.manager():
        for _ in range(5):
            await agent.want()
        assert await cloud_enis(world) == before

        await set_calls(world, CloudCalls.ALL)

        await agent.want_until(idle=2)
        await settle(world, agent)


async def set_calls(world: EniWorld, calls: CloudCalls) -> None:
    await world.bus.call(
        CAPACITY_SET,
        CapacitySetRequest(
            deadline=datetime.now(UTC) + timedelta(seconds=5),
            scope="cluster",
            calls=calls,
            by="tests",
        ),
    )


async def test_v3_3_9_a_creation_that_is_not_answered_is_not_made_twice(
    world: EniWorld,
) -> None:
    await fault(world, "CreateNetworkInterface", "timeout_after", hold_ms=10)
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=1)

        assert len(await cloud_enis(world)) == 1
        await settle(world, agent)


async def test_v3_3_9_a_quota_that_is_lower_than_told_leaves_no_eni_behind(
    world: EniWorld,
) -> None:
    await fault(world, "AttachNetworkInterface", "refuse", count=200, code="LimitExceeded")
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():

        async def is_told() -> bool:
            return "LimitExceeded" in ((await agent.want()).problem or "")

        await eventually(is_told)
        assert await cloud_enis(world) == {}
        await world.cloud.admin("DELETE", "faults")
        await agent.want_until(idle=1)
        await settle(world, agent)


async def test_v3_4_2_an_eni_that_is_slow_to_come_is_not_made_twice(world: EniWorld) -> None:
    await fault(world, "CreateNetworkInterface", "stuck", hold_ms=2000)
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=1)

        assert len(await cloud_enis(world)) == 1


async def test_v3_4_1_an_address_that_is_no_more_at_the_cloud_is_given_to_no_pod(
    world: EniWorld,
) -> None:
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        agent.waiting = 2
        await agent.want_until(idle=3)
        agent.waiting = 0
        await agent.want_until(idle=2)
        gone = min(agent.idle)
        await world.cloud.call(
            "UnassignPrivateIpAddresses",
            NetworkInterfaceId=agent.owned[gone],
            PrivateIpAddresses=[{"PrivateIpAddress": str(gone)}],
        )

        await agent.want_so(lambda: gone not in agent.owned)

        assert len(agent.idle) >= 1, "the others stay"
        await settle(world, agent)


async def test_v3_4_2_addresses_that_are_slow_to_come_are_not_assigned_twice(
    world: EniWorld,
) -> None:
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=1)
        await fault(world, "AssignPrivateIpAddresses", "stuck", hold_ms=1000)
        agent.bind(1)

        await agent.want_until(idle=1)

        [(_, addresses)] = (await cloud_enis(world)).values()
        assert len(addresses) == 2


@pytest.mark.long
async def test_v3_4_4_what_leaves_a_stopped_instance_leaves_it_once(world: EniWorld) -> None:
    async with cloud_gate(world.cloud.url) as (gate, url):
        world.settings["cloud_url"] = url
        process = await world.process()
        agent = await with_two_enis(world)
        gate.arm(None, -1, process)
        await world.cloud.admin("POST", "instances/ins-one/stop")
        agent.waiting = 0

        await agent.want_until(idle=2)

        async def is_one_left() -> bool:
            await agent.want()
            return len(await cloud_enis(world)) == 1

        await eventually(is_one_left)
        await settle(world, agent)
        removed = ("DetachNetworkInterface", "DeleteNetworkInterface")
        assert [gate.calls.count(each) for each in removed] == [1, 1]
        await world.cloud.admin("POST", "instances/ins-one/start")
        agent.bind(2)
        await agent.want_until(idle=1)


async def test_v3_4_7_nothing_of_a_released_eni_stays_in_the_books(world: EniWorld) -> None:
    async with world.manager():
        agent = await with_two_enis(world)
        agent.waiting = 0
        await agent.want_until(idle=2)

        async def is_one_left() -> bool:
            return len(await cloud_enis(world)) == 1

        await eventually(is_one_left)
        await settle(world, agent)

        [image] = await images(world)
        assert {each.eni for each in image.addresses.values()} == set(agent.secondary)
        assert {it.eni for it in image.enis.values() if not it.is_primary} == set(
            agent.secondary
        )
