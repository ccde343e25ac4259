"""Moves of fixed addresses, over a real bus, a real store and the simulated cloud's API."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from services.eni_manager.adapters.redis_embargoes import RedisEmbargoes
from shared.addresses import AddressState
from shared.clock import SystemClock
from shared.errors import (
    BerthError,
    CloudRefused,
    LeaseInUse,
    QuotaReached,
    Stale,
    Unavailable,
    WrongSubnet,
)
from shared.ids import EniId, Identity
from tests.support.eni_world import CLUSTER, EniWorld, MoveArguments, eni_world
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

WEB_0 = Identity("default", "web-0", "berth")


async def a_fixed_address(world: EniWorld, agent: StandInAgent) -> IPv4Address:
    """An address that the agent has handed to a fixed lease: no more its own."""
    address = sorted(agent.idle)[0]
    del agent.owned[address]
    await world.lease_moves(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)
    return address


async def test_a_fixed_address_moves_to_the_node_that_its_lease_names(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
    address = await a_fixed_address(world, one)

    moved = await world.move(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)

    assert moved.eni.eni in two.secondary
    assert str(address) in await world.cloud.addresses(moved.eni.eni)
    assert str(address) not in await world.cloud.addresses(one.secondary[0])


async def test_a_move_says_which_late_call_it_waits_for_and_until_when(
    world: EniWorld,
) -> None:
    one = await world.agent("node-1", "ins-one")
    await one.want_until(idle=3)
    address = sorted(one.idle)[0]
    eni = EniId(one.owned.pop(address))
    until = SystemClock().now() + timedelta(minutes=6)
    embargoes = RedisEmbargoes(world.redis, cluster=CLUSTER, clock=SystemClock())
    await embargoes.begin(eni, [address], until)
    await world.lease_moves(WEB_0, address, subnet="subnet-a", to_node="node-1", generation=7)

    with pytest.raises(Unavailable) as refused:
        await world.move(WEB_0, address, subnet="subnet-a", to_node="node-1", generation=7)

    said = str(refused.value)
    assert f"{address} of {WEB_0} is on {eni}" in said
    assert f"may take it off there until {until:%H:%M:%S} UTC" in said
    assert "it is tried again by itself" in said


async def test_a_move_that_is_asked_again_has_the_same_answer(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
    address = await a_fixed_address(world, one)
    asked = MoveArguments(subnet="subnet-a", to_node="node-2", generation=7)

    first = await world.move(WEB_0, address, **asked)
    again = await world.move(WEB_0, address, **asked)

    assert again == first


async def test_a_move_makes_room_by_recalling_one_idle_address(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    two.waiting = 2
    await asyncio.gather(one.want_until(idle=3), two.want_until(idle=5))
    address = await a_fixed_address(world, one)

    moved = await world.move(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)

    assert len(two.owned) == 4
    assert len(await world.cloud.addresses(moved.eni.eni)) == 5


async def test_a_move_without_room_says_what_is_needed(world: EniWorld) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    two.waiting = 2
    await asyncio.gather(one.want_until(idle=3), two.want_until(idle=5))
    two.bind(5)
    address = await a_fixed_address(world, one)

    with pytest.raises(
        QuotaReached, match=r"subnet-a \(zone zone-1\): node node-2 has no room"
    ):
        await world.move(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)


async def test_an_address_that_no_eni_has_is_assigned_by_name(world: EniWorld) -> None:
    two = await world.agent("node-2", "ins-two")
    await two.want_until(idle=3)
    address = IPv4Address("10.0.1.200")
    await world.lease_moves(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)

    moved = await world.move(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)

    assert str(address) in await world.cloud.addresses(moved.eni.eni)


async def test_an_address_that_a_stranger_took_is_named(world: EniWorld) -> None:
    two = await world.agent("node-2", "ins-two")
    await two.want_until(idle=3)
    address = IPv4Address("10.0.1.200")
    await world.lease_moves(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)
    await world.cloud.admin(
        "POST",
        "foreign-addresses",
        {"subnet": "subnet-a", "address": str(address), "type": "CLB"},
    )

    with pytest.raises(CloudRefused, match=r"10\.0\.1\.200 .* taken by somebody else .* CLB"):
        await world.move(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)


@pytest.mark.parametrize(
    ("state", "generation", "to_node"),
    [
        (AddressState.RETAINED, 7, "node-2"),
        (AddressState.MOVING, 8, "node-2"),
        (AddressState.MOVING, 7, "node-1"),
    ],
)
async def test_only_the_leases_own_moving_step_authorises_a_move(
    world: EniWorld, state: AddressState, generation: int, to_node: str
) -> None:
    two = await world.agent("node-2", "ins-two")
    await two.want_until(idle=3)
    address = IPv4Address("10.0.1.200")
    await world.lease_moves(
        WEB_0, address, subnet="subnet-a", to_node=to_node, generation=generation, state=state
    )

    with pytest.raises(Stale):
        await world.move(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)

    assert str(address) not in await world.cloud.addresses(two.secondary[0])


async def test_a_move_to_another_zone_names_the_zone_that_is_needed(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        eni_world(
            nats_server, redis_server, tmp_path, subnets=["subnet-a", "subnet-b"]
        ) as world,
        world.manager(),
    ):
        far = await world.agent("node-3", "ins-far")
        await far.want_until(idle=3)
        address = IPv4Address("10.0.1.200")
        await world.lease_moves(
            WEB_0, address, subnet="subnet-a", to_node="node-3", generation=7
        )

        with pytest.raises(
            WrongSubnet, match="subnet-a in zone zone-1; node node-3 is in zone"
        ):
            await world.move(WEB_0, address, subnet="subnet-a", to_node="node-3", generation=7)


@pytest.mark.parametrize("holder", ["stranger", "another_node", "primary"])
async def test_a_nominated_address_is_taken_from_nobody(world: EniWorld, holder: str) -> None:
    one, two = await world.agent("node-1", "ins-one"), await world.agent("node-2", "ins-two")
    await asyncio.gather(one.want_until(idle=3), two.want_until(idle=3))
    address, pattern = IPv4Address("10.0.1.200"), "taken by .* CLB"
    refusal: type[BerthError] = CloudRefused
    if holder == "stranger":
        kind = {"subnet": "subnet-a", "address": str(address), "type": "CLB"}
        await world.cloud.admin("POST", "foreign-addresses", kind)
    elif holder == "another_node":
        address, pattern = sorted(one.idle)[0], f"{one.secondary[0]} of instance ins-one"
        refusal = LeaseInUse
    else:
        address = IPv4Address(await world.cloud.primary_address(two.secondary[0]))
        pattern = "primary address of"
    await world.lease_moves(
        WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7, eni=None
    )
    enis = (one.secondary[0], two.secondary[0])
    before = [await world.cloud.addresses(each) for each in enis]

    with pytest.raises(refusal, match=pattern):
        await world.move(WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7)

    assert [await world.cloud.addresses(each) for each in enis] == before


async def test_a_nominated_address_that_is_free_is_assigned_and_repeated_the_same(
    world: EniWorld,
) -> None:
    two = await world.agent("node-2", "ins-two")
    await two.want_until(idle=3)
    address = IPv4Address("10.0.1.200")
    await world.lease_moves(
        WEB_0, address, subnet="subnet-a", to_node="node-2", generation=7, eni=None
    )
    asked = MoveArguments(subnet="subnet-a", to_node="node-2", generation=7)

    moved = await world.move(WEB_0, address, **asked)

    assert await world.move(WEB_0, address, **asked) == moved
    assert str(address) in await world.cloud.addresses(moved.eni.eni)
