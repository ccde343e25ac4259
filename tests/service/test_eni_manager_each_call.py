"""The eni_manager stopped at each single call that changes the cloud, and another takes over.

Killed right after the call, before its answer; or frozen before it, and woken once the other
one has finished, so that the call of the lost term arrives late.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from shared.addresses import AddressState
from shared.errors import TryLater
from shared.ids import Identity
from shared.messages.base import IdentityFields
from shared.messages.moves import ADDRESS_PARK, ParkRequest
from tests.support.call_stories import WAIT_S, Cast, Story, play_story
from tests.support.cloud_gate import Stop, cloud_gate
from tests.support.eni_books import cloud_enis, disagreements
from tests.support.eni_world import MoveArguments, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer

CREATE, ATTACH = "CreateNetworkInterface", "AttachNetworkInterface"
ASSIGN, UNASSIGN = "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"
DETACH, DELETE = "DetachNetworkInterface", "DeleteNetworkInterface"
MIGRATE, RESERVE = "MigratePrivateIpAddress", "CreateReserveIpAddresses"

WEB_0 = Identity("default", "web-0", "berth")
MOVE = MoveArguments(subnet="subnet-a", to_node="node-2", generation=7)


async def nothing(cast: Cast) -> None:
    return None


async def joins(cast: Cast) -> None:
    await asyncio.gather(*(it.want_until(idle=3, timeout_s=WAIT_S) for it in cast.agents))


async def grows(cast: Cast) -> None:
    cast.agents[0].bind(2)
    await cast.agents[0].want_until(idle=3, timeout_s=WAIT_S)


async def has_two_enis(cast: Cast) -> None:
    """One of them with a pod on it, the other with a single idle address."""
    [agent] = cast.agents
    agent.waiting = 3
    await agent.want_until(idle=4, timeout_s=WAIT_S)
    enis = list(agent.owned.values())
    fuller = max(agent.secondary, key=enis.count)
    agent.bound.add(min(address for address, eni in agent.owned.items() if eni == fuller))


async def shrinks(cast: Cast) -> None:
    [agent] = cast.agents
    agent.waiting = 0

    def is_small() -> bool:
        return len(agent.idle) == 2 and len(agent.secondary) == 1

    await agent.want_so(is_small, timeout_s=WAIT_S)

    async def is_one_left() -> bool:
        return len(await cloud_enis(cast.world)) == 1

    await eventually(is_one_left, timeout_s=WAIT_S)


async def has_a_lease(cast: Cast) -> None:
    await joins(cast)
    one = cast.agents[0]
    cast.fixed = min(one.idle)
    del one.owned[cast.fixed]
    await cast.world.lease_moves(WEB_0, cast.fixed, **MOVE)


async def has_a_lease_and_no_room(cast: Cast) -> None:
    cast.agents[1].waiting = 2
    await cast.agents[1].want_until(idle=5, timeout_s=WAIT_S)
    cast.agents[1].waiting = 0
    cast.agents[1].bind(2)
    cast.agents[0].waiting = 0
    await cast.agents[0].want_until(idle=3, timeout_s=WAIT_S)
    one = cast.agents[0]
    cast.fixed = min(one.idle)
    del one.owned[cast.fixed]
    await cast.world.lease_moves(WEB_0, cast.fixed, **MOVE)


async def moves(cast: Cast) -> None:
    assert cast.fixed is not None
    await cast.world.move_until_answered(WEB_0, cast.fixed, **MOVE)
    assert cast.fixed in await addresses_of(cast, "ins-two")


async def has_a_retained_lease(cast: Cast) -> None:
    """On node-1; node-2 has nothing yet, and its only slot is free."""
    one = cast.agents[0]
    one.waiting = 3
    await one.want_until(idle=3, timeout_s=WAIT_S)
    cast.fixed = min(one.idle)
    del one.owned[cast.fixed]
    await cast.world.lease_moves(
        WEB_0,
        cast.fixed,
        subnet="subnet-a",
        to_node="node-1",
        generation=6,
        state=AddressState.RETAINED,
    )


async def is_held(cast: Cast) -> None:
    """The instance ends: its ENI stays, with the lease's address alone."""
    one = cast.agents.pop(0)
    await one.stop()
    await cast.world.cloud.admin("POST", f"instances/{one.instance}/terminate")

    async def is_held_alone() -> bool:
        found = list((await cloud_enis(cast.world)).values())
        return found == [(None, frozenset({str(cast.fixed)}))]

    await eventually(is_held_alone, timeout_s=WAIT_S)


async def is_held_before(cast: Cast) -> None:
    await has_a_retained_lease(cast)
    await is_held(cast)
    await cast.agents[0].want()
    assert cast.fixed is not None
    await cast.world.lease_moves(WEB_0, cast.fixed, **MOVE)


async def is_to_make_way(cast: Cast) -> None:
    """Its step to nowhere is written; node-2 has an ENI with an idle address."""
    await has_a_retained_lease(cast)
    two = cast.agents[1]
    two.waiting = 1
    await two.want_until(idle=1, timeout_s=WAIT_S)
    two.waiting = 0
    assert cast.fixed is not None
    await cast.world.lease_moves(WEB_0, cast.fixed, **(MOVE | {"to_node": "", "generation": 6}))


async def makes_way(cast: Cast) -> None:
    assert cast.fixed is not None
    async with asyncio.timeout(WAIT_S):
        while not await is_parked(cast, cast.fixed):
            continue
    assert cast.fixed not in await addresses_of(cast, "ins-one")
    kept = await cast.world.cloud.call("DescribeReserveIpAddresses")
    states = [(it.ReserveIpAddress, it.State) for it in kept.ReserveIpAddressSet]  # type: ignore[attr-defined]
    assert states == [(str(cast.fixed), "UnBind")]


async def is_parked(cast: Cast, address: IPv4Address) -> bool:
    """As an allocator asks: the same question again after each unanswered one."""
    request = ParkRequest(
        deadline=datetime.now(UTC) + timedelta(seconds=3),
        identity=IdentityFields.of(WEB_0),
        address=address,
        eni="eni-before",
        node="node-1",
        generation=6,
    )
    try:
        await cast.world.bus.call(ADDRESS_PARK, request)
    except TryLater:
        return False
    return True


async def made_way_before(cast: Cast) -> None:
    await is_to_make_way(cast)
    await makes_way(cast)
    assert cast.fixed is not None
    await cast.world.lease_moves(WEB_0, cast.fixed, **MOVE)


async def addresses_of(cast: Cast, instance: str) -> set[IPv4Address]:
    enis = (await cloud_enis(cast.world)).values()
    return {IPv4Address(it) for owner, every in enis if owner == instance for it in every}


def small_quota(topology: dict[str, object]) -> None:
    """Two secondary ENIs of three pod addresses each."""
    topology["instances"] = [
        {
            "id": "ins-one",
            "node": "node-1",
            "zone": "zone-1",
            "subnet": "subnet-a",
            "quota": {"enis": 3, "addresses_per_eni": 4},
        }
    ]


SMALL_ENIS: dict[str, object] = {
    "warm_addresses_min": 1,
    "warm_addresses_max": 2,
    "empty_eni_rest_s": 0,
}
HOLDING: dict[str, object] = {
    "warm_addresses_min": 0,
    "warm_addresses_max": 3,
    "observe_interval_s": 0.3,
    "instance_gone_after_s": 0.2,
    "sweep_interval_s": 0.2,
    "sweep_grace_s": 0.3,
}
STORIES = {
    "join": Story(before=nothing, act=joins, calls=(CREATE, ATTACH)),
    "grow": Story(before=joins, act=grows, calls=(ASSIGN,)),
    "shrink": Story(
        before=has_two_enis,
        act=shrinks,
        calls=(UNASSIGN, DETACH, DELETE),
        settings=SMALL_ENIS,
        change=small_quota,
    ),
    "move": Story(before=has_a_lease, act=moves, calls=(MIGRATE,), nodes=2),
    "move into a full eni": Story(
        before=has_a_lease_and_no_room, act=moves, calls=(UNASSIGN, MIGRATE), nodes=2
    ),
    "hold": Story(
        before=has_a_retained_lease,
        act=is_held,
        calls=(UNASSIGN,),
        nodes=2,
        settings=HOLDING,
        is_parked=True,
    ),
    "take a held one back": Story(
        before=is_held_before, act=moves, calls=(ATTACH,), nodes=2, settings=HOLDING
    ),
    "make way": Story(
        before=is_to_make_way,
        act=makes_way,
        calls=(RESERVE, UNASSIGN),
        nodes=2,
        is_parked=True,
        settings=HOLDING,
    ),
    "take back what made way": Story(
        before=made_way_before, act=moves, calls=(ASSIGN,), nodes=2, settings=HOLDING
    ),
}
EACH_CALL = [(name, at) for name, story in STORIES.items() for at in range(len(story.calls))]


async def play(
    servers: tuple[NatsServer, RedisServer], folder: Path, name: str, stop: Stop | None, at: int
) -> None:
    await play_story(servers, folder, STORIES[name], stop, at)


@pytest.mark.long
@pytest.mark.parametrize("name", STORIES)
async def test_the_stories_take_these_calls(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path, name: str
) -> None:
    await play((nats_server, redis_server), tmp_path, name, None, -1)


@pytest.mark.long
@pytest.mark.parametrize(("name", "at"), EACH_CALL)
async def test_killed_after_a_call(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path, name: str, at: int
) -> None:
    await play((nats_server, redis_server), tmp_path, name, Stop.KILL_AFTER, at)


@pytest.mark.long
@pytest.mark.parametrize(("name", "at"), EACH_CALL)
async def test_frozen_before_a_call_that_arrives_after_another_took_over(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path, name: str, at: int
) -> None:
    await play((nats_server, redis_server), tmp_path, name, Stop.FREEZE_BEFORE, at)


@pytest.mark.long
async def test_a_late_unassignment_takes_no_address_from_a_pod(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The only free addresses are those that the lost term was about to unassign."""
    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            subnets=["subnet-small"],
            warm_addresses_min=1,
            warm_addresses_max=2,
            cloud_in_flight_max_s=15.0,
            cloud_timeout_s=20.0,
        ) as world,
        cloud_gate(world.cloud.url) as (gate, url),
    ):
        world.settings["cloud_url"] = url
        first = await world.process()
        agent = await world.agent("node-1", "ins-one")
        agent.waiting = 3
        await agent.want_until(idle=4, timeout_s=WAIT_S)
        had = set(agent.owned)
        gate.arm(Stop.FREEZE_BEFORE, 0, first)
        agent.waiting = 0
        await agent.want_until(idle=2, timeout_s=WAIT_S)
        struck = had - set(agent.owned)
        async with asyncio.timeout(WAIT_S):
            await gate.stopped.wait()
        await world.process()

        agent.bind(2)
        agent.waiting = 2

        async def are_back() -> bool:
            await agent.want_quietly()
            return gate.calls[1:] == [UNASSIGN, ASSIGN]

        await eventually(are_back)
        offered_early = struck & set(agent.owned)
        gate.let_late_call_through()
        await gate.late_answer
        await agent.want_until(idle=2, timeout_s=WAIT_S)

        assert offered_early == set()
        assert "Error" not in await gate.late_answer, "the late call did unassign them"
        assert await disagreements(world, [agent]) == []
