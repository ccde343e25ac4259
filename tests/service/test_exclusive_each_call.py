"""ENIs that one pod has as a whole: made, moved, kept and taken back by an eni_manager that is
stopped at each single call, while another takes over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from shared.addresses import AddressState
from shared.errors import Unavailable
from tests.service.test_eni_manager_each_call import (
    ATTACH,
    CREATE,
    DELETE,
    DETACH,
    joins,
)
from tests.service.test_exclusive_enis import enis_of, roomy
from tests.service.test_exclusive_moves import DB_0, TO_TWO, lease, left_on, park
from tests.support.call_stories import WAIT_S, Cast, Story, play_story
from tests.support.cloud_gate import Stop
from tests.support.eni_world import eventually
from tests.support.servers import NatsServer, RedisServer

PARKED_FIRST = 6  # generations of the lease


async def gets_an_eni(cast: Cast) -> None:
    """For a pod, which then has it."""
    agent = cast.agents[0]
    agent.whole_waiting = 1
    await agent.want_so(lambda: len(agent.whole) == 1, timeout_s=WAIT_S)
    agent.bind_whole()


async def has_an_eni(cast: Cast) -> None:
    await joins(cast)
    await gets_an_eni(cast)
    await cast.agents[0].want()
    cast.agents[0].bound.clear()  # its pod went: nobody needs it


async def gives_it_back(cast: Cast) -> None:
    async def is_gone() -> bool:
        await cast.agents[0].want_quietly()
        return await enis_of(cast.world, "exclusive") == {}

    await eventually(is_gone, timeout_s=WAIT_S)


async def has_a_lease(cast: Cast) -> None:
    await joins(cast)
    cast.fixed = await left_on(cast.world, cast.agents[0])


async def has_a_lease_that_moves(cast: Cast) -> None:
    await has_a_lease(cast)
    assert cast.fixed is not None
    await lease(cast.world, cast.fixed, AddressState.MOVING, generation=7, to_node="node-2")


async def has_a_lease_that_leaves(cast: Cast) -> None:
    await has_a_lease(cast)
    assert cast.fixed is not None
    await lease(cast.world, cast.fixed, AddressState.MOVING, generation=PARKED_FIRST)


async def has_a_parked_lease_that_moves(cast: Cast) -> None:
    await has_a_lease_that_leaves(cast)
    await is_parked(cast)
    assert cast.fixed is not None
    await lease(cast.world, cast.fixed, AddressState.MOVING, generation=8, to_node="node-2")


async def moves(cast: Cast) -> None:
    assert cast.fixed is not None
    moved = await cast.world.move_until_answered(DB_0, cast.fixed, **TO_TWO)
    assert (await enis_of(cast.world, "exclusive"))[moved.eni.eni] == "ins-two"


async def is_taken_back(cast: Cast) -> None:
    assert cast.fixed is not None
    moved = await cast.world.move_until_answered(
        DB_0, cast.fixed, subnet="subnet-a", to_node="node-2", generation=8
    )
    assert (await enis_of(cast.world, "exclusive"))[moved.eni.eni] == "ins-two"


async def is_parked(cast: Cast) -> None:
    assert cast.fixed is not None
    (eni,) = await enis_of(cast.world, "exclusive")
    async with asyncio.timeout(WAIT_S):
        while (await enis_of(cast.world, "exclusive"))[eni] is not None:
            with suppress(Unavailable):
                await park(cast.world, cast.fixed, eni, generation=PARKED_FIRST)


STORIES = {
    "made for a pod": Story(
        before=joins, act=gets_an_eni, calls=(CREATE, ATTACH), change=roomy
    ),
    "given back": Story(
        before=has_an_eni, act=gives_it_back, calls=(DETACH, DELETE), change=roomy
    ),
    "moves": Story(
        before=has_a_lease_that_moves,
        act=moves,
        calls=(DETACH, ATTACH),
        nodes=2,
        change=roomy,
    ),
    "parked": Story(
        before=has_a_lease_that_leaves,
        act=is_parked,
        calls=(DETACH,),
        nodes=2,
        change=roomy,
        is_parked=True,
    ),
    "taken from where it is kept": Story(
        before=has_a_parked_lease_that_moves,
        act=is_taken_back,
        calls=(ATTACH,),
        nodes=2,
        change=roomy,
    ),
}
EACH_CALL = [(name, at) for name, story in STORIES.items() for at in range(len(story.calls))]


@pytest.mark.long
@pytest.mark.parametrize(("name", "at"), EACH_CALL)
async def test_killed_after_a_call(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path, name: str, at: int
) -> None:
    servers = nats_server, redis_server
    await play_story(servers, tmp_path, STORIES[name], Stop.KILL_AFTER, at)


@pytest.mark.long
@pytest.mark.parametrize(("name", "at"), EACH_CALL)
async def test_frozen_before_a_call_that_arrives_after_another_took_over(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path, name: str, at: int
) -> None:
    servers = nats_server, redis_server
    await play_story(servers, tmp_path, STORIES[name], Stop.FREEZE_BEFORE, at)
