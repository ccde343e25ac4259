"""A fixed lease of a whole ENI over a real bus and the simulated cloud: it moves, is kept
detached, and is deleted, always by its own step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from shared.addresses import AddressState
from shared.errors import CloudRefused, QuotaReached, Stale, Unavailable, WrongSubnet
from shared.ids import Identity
from shared.messages.base import IdentityFields
from shared.messages.moves import ADDRESS_PARK, ADDRESS_RECLAIM, ParkRequest, ReclaimRequest
from tests.service.test_exclusive_enis import enis_of, roomy, slow
from tests.support.eni_world import EniWorld, MoveArguments, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

DB_0 = Identity("default", "db-0", "berth")
TO_TWO = MoveArguments(subnet="subnet-a", to_node="node-2", generation=7)


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(
            eni_world(nats_server, redis_server, tmp_path, change=roomy)
        )


async def left_on(world: EniWorld, agent: StandInAgent) -> IPv4Address:
    """A pod with an ENI of its own and a fixed lease has ended: the address is the lease's."""
    agent.whole_waiting = 1
    await agent.want_so(lambda: len(agent.whole) == 1)
    agent.whole_waiting = 0
    address = min(agent.whole)
    del agent.owned[address]
    agent.fixed[address] = "eni"
    await lease(world, address, AddressState.RETAINED, generation=6)
    await agent.want()
    del agent.fixed[address]
    return address


async def lease(
    world: EniWorld,
    address: IPv4Address,
    state: AddressState,
    *,
    generation: int,
    to_node: str | None = None,
) -> None:
    await world.lease_moves(
        DB_0,
        address,
        subnet="subnet-a",
        to_node=to_node or "",
        generation=generation,
        state=state,
        is_exclusive=True,
    )


async def placed(world: EniWorld) -> str | None:
    """The instance of the only whole ENI."""
    ((_, instance),) = (await enis_of(world, "exclusive")).items()
    return instance


def park(
    world: EniWorld,
    address: IPv4Address,
    eni: str,
    *,
    generation: int = 7,
    node: str = "node-1",
) -> Any:
    return world.bus.call(
        ADDRESS_PARK,
        ParkRequest(
            deadline=datetime.now(UTC) + timedelta(seconds=10),
            identity=IdentityFields.of(DB_0),
            address=address,
            eni=eni,
            node=node,
            generation=generation,
        ),
    )


def reclaim(world: EniWorld, address: IPv4Address, eni: str) -> Any:
    return world.bus.call(
        ADDRESS_RECLAIM,
        ReclaimRequest(
            deadline=datetime.now(UTC) + timedelta(seconds=10),
            identity=IdentityFields.of(DB_0),
            address=address,
            eni=eni,
            generation=7,
        ),
    )


async def test_an_eni_moves_to_the_node_that_its_lease_names(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    async with world.manager():
        await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
        address = await left_on(world, one)
        await lease(world, address, AddressState.MOVING, generation=7, to_node="node-2")

        moved = await world.move(DB_0, address, **TO_TWO)
        again = await world.move(DB_0, address, **TO_TWO)

        assert (moved.eni.is_exclusive, moved.eni.primary_address) == (True, address)
        assert again == moved
        assert await placed(world) == "ins-two"
        await one.want_so(lambda: moved.eni.eni not in one.enis)
        await two.want_so(lambda: moved.eni.eni in two.enis)
        assert address not in two.owned, "it is the lease's, and nobody's stock"


async def test_a_left_eni_is_detached_and_kept_and_moves_on_from_there(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    async with world.manager():
        await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
        address = await left_on(world, one)
        (eni,) = await enis_of(world, "exclusive")
        await lease(world, address, AddressState.MOVING, generation=7)

        await park(world, address, eni)
        await park(world, address, eni)

        assert await enis_of(world, "exclusive") == {eni: None}
        await one.want_so(lambda: eni not in one.enis)
        used: Any = await world.cloud.call(
            "DescribeVpcPrivateIpAddresses",
            VpcId="vpc-one",
            PrivateIpAddresses=[str(address)],
        )
        assert len(used.VpcPrivateIpAddressSet) == 1, "nobody else in the VPC can have it"
        await lease(world, address, AddressState.MOVING, generation=8, to_node="node-2")
        moved = await world.move(DB_0, address, **(TO_TWO | {"generation": 8}))
        assert moved.eni.eni == eni
        assert await placed(world) == "ins-two"


@pytest.mark.parametrize(
    ("state", "generation", "to_node"),
    [
        (AddressState.RETAINED, 7, ""),
        (AddressState.MOVING, 8, ""),
        (AddressState.MOVING, 7, "node-2"),
        (AddressState.BOUND_FIXED, 7, ""),
    ],
)
async def test_only_the_leases_own_step_takes_an_eni_off_its_node(
    world: EniWorld, state: AddressState, generation: int, to_node: str
) -> None:
    one = await world.agent("node-1", "ins-one")
    async with world.manager():
        await one.want_until(idle=3)
        address = await left_on(world, one)
        (eni,) = await enis_of(world, "exclusive")
        await lease(world, address, state, generation=generation, to_node=to_node)

        with pytest.raises(Stale):
            await park(world, address, eni)

        assert await placed(world) == "ins-one"


async def test_a_parked_eni_is_deleted_when_its_lease_has_expired_and_not_before(
    world: EniWorld,
) -> None:
    one = await world.agent("node-1", "ins-one")
    async with world.manager():
        await one.want_until(idle=3)
        address = await left_on(world, one)
        (eni,) = await enis_of(world, "exclusive")
        await lease(world, address, AddressState.MOVING, generation=6)
        await park(world, address, eni, generation=6)
        await lease(world, address, AddressState.PARKED, generation=7)
        with pytest.raises(Stale):
            await reclaim(world, address, eni)
        assert await enis_of(world, "exclusive") == {eni: None}

        await lease(world, address, AddressState.EXPIRED, generation=7)
        await reclaim(world, address, eni)
        await reclaim(world, address, eni)

        assert await enis_of(world, "exclusive") == {}


async def test_a_node_without_a_slot_refuses_before_the_eni_leaves(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    async with world.manager():
        two.whole_waiting = 2
        await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
        await two.want_so(lambda: len(two.whole) == 2)
        two.bind_whole()
        two.bind_whole()
        address = await left_on(world, one)
        await lease(world, address, AddressState.MOVING, generation=7, to_node="node-2")

        with pytest.raises(QuotaReached, match="node node-2 has no slot for another ENI"):
            await world.move(DB_0, address, **TO_TWO)

        assert await eni_with(world, address) == "ins-one"


async def test_an_idle_eni_gives_its_slot_to_one_that_must_come(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    async with world.manager():
        two.whole_waiting = 2
        await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
        await two.want_so(lambda: len(two.whole) == 2)
        two.bind_whole()
        address = await left_on(world, one)
        await lease(world, address, AddressState.MOVING, generation=7, to_node="node-2")

        await world.move(DB_0, address, **TO_TWO)

        assert await eni_with(world, address) == "ins-two"
        assert len(two.whole) == 1


async def test_a_lease_whose_eni_was_lost_is_refused_and_never_shares_another(
    world: EniWorld,
) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    async with world.manager():
        await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
        address = await left_on(world, one)
        (eni,) = await enis_of(world, "exclusive")
        await lease(world, address, AddressState.MOVING, generation=6)
        await park(world, address, eni, generation=6)
        gone = await world.cloud.call("DeleteNetworkInterface", NetworkInterfaceId=eni)
        assert await world.cloud.settled(gone) == "SUCCESS"
        await lease(world, address, AddressState.MOVING, generation=7, to_node="node-2")

        with pytest.raises(CloudRefused, match=f"the ENI of {address} .* is no more"):
            await world.move(DB_0, address, **TO_TWO)

        for shared in two.secondary:
            assert str(address) not in await world.cloud.addresses(shared)


async def test_an_eni_of_a_node_that_is_no_more_can_be_parked(world: EniWorld) -> None:
    one = await world.agent("node-1", "ins-one")
    async with world.manager():
        await one.want_until(idle=3)
        address = await left_on(world, one)
        (eni,) = await enis_of(world, "exclusive")
        await lease(world, address, AddressState.MOVING, generation=7)

        await park(world, address, eni, node="node-that-left")

        assert await enis_of(world, "exclusive") == {eni: None}


async def test_an_eni_cannot_follow_its_pod_to_another_zone(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with eni_world(
        nats_server, redis_server, tmp_path, change=roomy, subnets=["subnet-a", "subnet-b"]
    ) as world:
        one, far = (
            await world.agent("node-1", "ins-one"),
            await world.agent("node-3", "ins-far"),
        )
        async with world.manager():
            await asyncio.gather(one.want_until(idle=3), far.want_until(idle=3))
            address = await left_on(world, one)
            await lease(world, address, AddressState.MOVING, generation=7, to_node="node-3")

            with pytest.raises(WrongSubnet, match="subnet-a in zone zone-1; node node-3 is in"):
                await world.move(DB_0, address, **(TO_TWO | {"to_node": "node-3"}))

            assert await placed(world) == "ins-one"


@pytest.mark.long
@pytest.mark.parametrize("action", ["DetachNetworkInterface", "AttachNetworkInterface"])
async def test_a_move_of_an_eni_that_was_killed_is_finished_by_the_next_manager(
    world: EniWorld, action: str
) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    first = await world.process()
    await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
    address = await left_on(world, one)
    await slow(world, action)
    await lease(world, address, AddressState.MOVING, generation=7, to_node="node-2")
    moving = asyncio.create_task(world.move(DB_0, address, **TO_TWO), name="move")
    word = "DETACHING" if action.startswith("Detach") else "ATTACHING"
    await eventually(lambda: is_in(world, address, word))

    first.kill()
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)
    await world.process()
    moved = await world.move_until_answered(DB_0, address, **TO_TWO)

    assert moved.eni.primary_address == address
    assert await placed(world) == "ins-two"
    await two.want_so(lambda: moved.eni.eni in two.enis)


@pytest.mark.long
async def test_a_parking_that_was_killed_is_finished_by_the_next_manager(
    world: EniWorld,
) -> None:
    one = await world.agent("node-1", "ins-one")
    first = await world.process()
    await one.want_until(idle=3)
    address = await left_on(world, one)
    (eni,) = await enis_of(world, "exclusive")
    await slow(world, "DetachNetworkInterface")
    await lease(world, address, AddressState.MOVING, generation=7)
    parking = asyncio.create_task(park(world, address, eni), name="park")
    await eventually(lambda: is_in(world, address, "DETACHING"))

    first.kill()
    parking.cancel()
    await asyncio.gather(parking, return_exceptions=True)
    await world.process()
    await park(world, address, eni)

    assert await enis_of(world, "exclusive") == {eni: None}
    await one.want_so(lambda: eni not in one.enis)
    # The killed one may have left a detachment in flight: back on that node it would lose it.
    await lease(world, address, AddressState.MOVING, generation=8, to_node="node-1")
    with pytest.raises(Unavailable, match="a detachment that is still in flight"):
        await world.move(
            DB_0, address, subnet="subnet-a", to_node="node-1", generation=8, timeout_s=1.0
        )
    two = await world.agent("node-2", "ins-two")
    await two.want_until(idle=3)
    await lease(world, address, AddressState.MOVING, generation=9, to_node="node-2")
    await world.move(DB_0, address, **(TO_TWO | {"generation": 9}))
    assert await placed(world) == "ins-two"


async def shown(world: EniWorld, address: IPv4Address) -> Any:
    found: Any = await world.cloud.call(
        "DescribeNetworkInterfaces",
        Filters=[{"Name": "tag:berth-purpose", "Values": ["exclusive"]}],
    )
    return next(
        each
        for each in found.NetworkInterfaceSet
        if each.PrivateIpAddressSet[0].PrivateIpAddress == str(address)
    )


async def eni_with(world: EniWorld, address: IPv4Address) -> str | None:
    eni = await shown(world, address)
    return eni.Attachment.InstanceId if eni.Attachment else None


async def is_in(world: EniWorld, address: IPv4Address, state: str) -> bool:
    return str((await shown(world, address)).State) == state
