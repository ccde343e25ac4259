"""How much nodes keep ready, and which cloud calls are made, changed while they are served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.capacities import CloudCalls
from shared.errors import InvalidInput
from shared.messages.capacities import (
    CAPACITY_SET,
    CAPACITY_SHOW,
    CapacityFields,
    CapacitySetRequest,
    CapacityShown,
    CapacityShowRequest,
)
from tests.support.eni_books import cloud_enis
from tests.support.eni_world import EniWorld, eventually
from tests.support.standin_agent import StandInAgent


async def set_capacity(
    world: EniWorld,
    scope: str = "cluster",
    *,
    calls: CloudCalls | None = None,
    **fields: float | None,
) -> CapacityShown:
    request = CapacitySetRequest(
        deadline=datetime.now(UTC) + timedelta(seconds=5),
        scope=scope,
        capacity=CapacityFields.model_validate(fields) if fields else None,
        calls=calls,
        by="tests",
    )
    return await world.bus.call(CAPACITY_SET, request)


async def problem(agent: StandInAgent) -> str:
    return (await agent.want()).problem or ""


async def test_a_node_follows_cluster_group_its_own_word_and_an_operators(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    agent.group = "small"
    await agent.want_until(idle=3)

    await set_capacity(world, warm_min=4, warm_max=5)
    await agent.want_until(idle=4)
    await set_capacity(world, "group/small", warm_min=2, warm_max=2)
    await agent.want_until(idle=2)
    agent.warm = (5, 5)
    await agent.want_until(idle=5)
    await set_capacity(world, "node/node-1", warm_min=0, warm_max=1)
    await agent.want_until(idle=1)


async def test_a_scope_that_says_nothing_any_more_leaves_it_to_the_wider_one(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    await set_capacity(world, "node/node-1", warm_min=1, warm_max=1)
    await agent.want_until(idle=1)

    shown = await set_capacity(world, "node/node-1", warm_min=None)

    await agent.want_until(idle=3)
    assert shown.scopes == []


async def test_a_minimum_above_the_maximum_is_refused(world: EniWorld) -> None:
    with pytest.raises(InvalidInput, match="warm_min: 5 is not allowed; allowed: 0 to 2"):
        await set_capacity(world, warm_min=5, warm_max=2)


async def test_a_minimum_beyond_the_quota_is_told_and_what_fits_is_given(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    await set_capacity(world, "node/node-1", warm_min=50, warm_max=60)
    await agent.want_until(idle=5)

    async def is_told() -> bool:
        told = await problem(agent)
        return "lacks 45 addresses" in told and "quota" in told

    await eventually(is_told)


async def test_nothing_is_given_back_while_that_is_switched_off(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    await set_capacity(world, calls=CloudCalls.NO_RELEASE)
    agent.waiting = 2
    await agent.want_until(idle=5)
    agent.waiting = 0
    await set_capacity(world, warm_min=0, warm_max=0)
    before = await cloud_enis(world)
    for _ in range(5):
        await agent.want()

    assert (await cloud_enis(world), len(agent.idle)) == (before, 5)
    await set_capacity(world, calls=CloudCalls.ALL)
    await agent.want_until(idle=0)


async def test_no_cloud_call_is_made_while_they_are_switched_off(world: EniWorld) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=3)
    await set_capacity(world, calls=CloudCalls.NONE)
    agent.bind(2)

    async def is_told() -> bool:
        return "cloud calls are switched off" in await problem(agent)

    await eventually(is_told)
    assert len(agent.owned) == 3
    await set_capacity(world, calls=CloudCalls.ALL)
    await agent.want_until(idle=3)


async def test_what_is_set_is_shown(world: EniWorld) -> None:
    await set_capacity(world, "group/gpu", warm_min=2, release_every_s=120)

    shown = await world.bus.call(
        CAPACITY_SHOW, CapacityShowRequest(deadline=datetime.now(UTC) + timedelta(seconds=5))
    )

    [scoped] = shown.scopes
    assert scoped.scope == "group/gpu"
    assert scoped.capacity == CapacityFields(warm_min=2, release_every_s=120)
    assert (shown.defaults.warm_min, shown.calls) == (3, CloudCalls.ALL)


async def test_watermarks_beyond_the_quota_are_refused_for_a_node_and_told_by_others(
    world: EniWorld,
) -> None:
    agent = await world.agent("node-1", "ins-one")
    await agent.want_until(idle=3)

    with pytest.raises(InvalidInput, match=r"warm_min: 6 .* 0 to 5, the quota of .* ins-one"):
        await set_capacity(world, "node/node-1", warm_min=6, warm_max=9)
    await set_capacity(world, "cluster", warm_min=6, warm_max=9)

    async def is_told() -> bool:
        return "lacks 1 addresses: all of its 1 ENIs with 5" in await problem(agent)

    await eventually(is_told)
    assert len(agent.idle) == 5, "what the quota allows is there"
