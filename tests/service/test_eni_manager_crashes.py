"""The eni_manager killed in the middle: another one finishes what it began, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.errors import Stale, Unavailable
from shared.ids import Identity
from shared.store.permissions import StoreUser, acl_lines
from tests.support.eni_world import CLUSTER, EniWorld, MoveArguments, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

WEB_0 = Identity("default", "web-0", "berth")


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """No eni_manager runs yet."""
    async with eni_world(nats_server, redis_server, tmp_path) as found:
        yield found


async def cloud_addresses(world: EniWorld, agent: StandInAgent) -> set[str]:
    found: set[str] = set()
    for eni in agent.enis.values():
        if not eni.is_primary:
            found |= set(await world.cloud.addresses(eni.eni))
    return found


async def secondary_enis(world: EniWorld) -> int:
    found = await world.cloud.call(
        "DescribeNetworkInterfaces", Filters=[{"Name": "is-primary", "Values": ["false"]}]
    )
    return int(found.TotalCount)  # type: ignore[attr-defined]


async def wait_for_call(world: EniWorld, eni_count: int) -> None:
    async def is_made() -> bool:
        return await secondary_enis(world) == eni_count

    await eventually(is_made)


@pytest.mark.parametrize("action", ["CreateNetworkInterface", "AttachNetworkInterface"])
async def test_a_join_that_was_killed_is_finished_with_the_same_eni(
    world: EniWorld, action: str
) -> None:
    agent = await world.agent("node-1", "ins-one")
    await world.slow(action, 1500)
    first = await world.process()
    wanting = asyncio.create_task(agent.want_until(idle=3, timeout_s=30), name="want")
    await wait_for_call(world, 1)

    first.kill()
    wanting.cancel()
    await asyncio.gather(wanting, return_exceptions=True)
    await world.process()
    await agent.want_until(idle=3, timeout_s=20)

    assert await secondary_enis(world) == 1
    assert await cloud_addresses(world, agent) == {str(it) for it in agent.owned}


async def test_an_assignment_that_was_killed_is_taken_up_and_not_repeated(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    first = await world.process()
    await agent.want_until(idle=3, timeout_s=20)
    await world.slow("AssignPrivateIpAddresses", 1500)
    agent.bind(2)
    await agent.want()

    async def is_assigning() -> bool:
        return len(await cloud_addresses(world, agent)) == 5

    await eventually(is_assigning)
    first.kill()
    await world.process()
    await agent.want_until(idle=3, timeout_s=20)

    assert await cloud_addresses(world, agent) == {str(it) for it in agent.owned}


async def test_a_move_that_was_killed_is_finished_by_the_next_manager(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    first = await world.process()
    await asyncio.gather(one.want_until(idle=3, timeout_s=20), two.want_until(idle=3))
    address = sorted(one.idle)[0]
    del one.owned[address]
    await world.lease_moves(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)
    await world.slow("MigratePrivateIpAddress", 1500)
    asked = MoveArguments(subnet="subnet-a", to_node="node-2", generation=7)
    moving = asyncio.create_task(world.move(WEB_0, address, **asked), name="move")
    await eventually(lambda: world.is_migrating(address))

    first.kill()
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)
    await world.process()
    moved = await world.move_until_answered(WEB_0, address, **asked)

    assert str(address) in await world.cloud.addresses(moved.eni.eni)
    assert str(address) not in await cloud_addresses(world, one)


async def test_nodes_of_a_killed_replica_are_taken_over_and_orders_go_on_rising(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    first = await world.process()
    await agent.want_until(idle=3, timeout_s=20)
    async with world.manager():
        first.kill()
        agent.bind(2)

        await agent.want_until(idle=3, timeout_s=20)

    terms = [term for term, _ in agent.orders]
    assert agent.orders == sorted(set(agent.orders))
    assert terms[-1] > terms[0], "the new owner speaks under a term of its own"


async def test_an_agent_that_was_away_is_offered_the_same_addresses_again(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.stop()
    async with world.manager():
        await agent.want()
        await wait_for_call(world, 1)
        await agent.start()

        await agent.want_until(idle=3, timeout_s=20)

        assert await cloud_addresses(world, agent) == {str(it) for it in agent.owned}


async def test_an_agent_whose_book_was_lost_is_offered_its_addresses_again(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    async with world.manager():
        await agent.want_until(idle=3)
        had = set(agent.owned)
        agent.owned.clear()
        agent.incarnation += 1

        await agent.want_until(idle=3)

        assert set(agent.owned) == had


async def test_an_older_incarnation_is_refused(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    agent.incarnation = 2
    async with world.manager():
        await agent.want()
        agent.incarnation = 1

        with pytest.raises(Stale, match="incarnation 1 of node node-1 has ended"):
            await agent.want()


async def test_without_an_eni_manager_a_want_is_unavailable(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")

    with pytest.raises(Unavailable):
        await agent.want()


async def test_the_stores_permissions_are_enough_and_the_leases_are_only_read(
    world: EniWorld, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("of-the-tests", encoding="ascii")
    for line in acl_lines(CLUSTER, {StoreUser.ENI_MANAGER: "of-the-tests"}):
        if line.startswith(f"user {StoreUser.ENI_MANAGER} "):
            await world.redis.execute_command("ACL", "SETUSER", *line.split()[1:])  # type: ignore[no-untyped-call]
    world.settings["redis_password_file"] = password
    world.settings["redis_url"] = str(world.settings["redis_url"]).replace(
        "redis://", f"redis://{StoreUser.ENI_MANAGER}@"
    )
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    async with world.manager():
        await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
        address = sorted(one.idle)[0]
        del one.owned[address]
        await world.lease_moves(
            WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7
        )
        had = set(two.owned)
        two.owned.clear()
        two.incarnation += 1

        moved = await world.move(
            WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7
        )
        await two.want_until(idle=3)

    assert moved.address == address
    assert set(two.owned) == had, "the moved address is the lease's and was not offered"
