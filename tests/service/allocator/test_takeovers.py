"""Who has ended: a holder that cannot say so gives way on proof, and on nothing less."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from shared.errors import HolderAlive
from shared.messages.clusters import InstanceCondition
from shared.messages.leases import ReleaseOutcome
from tests.support.allocators import (
    Agent,
    EniManager,
    bus_client,
    registered,
    running,
    settings,
)
from tests.support.servers import NatsServer, RedisServer


class World:
    def __init__(self, one: Agent, two: Agent, manager: EniManager, pods: Path) -> None:
        self.one, self.two, self.manager, self._pods = one, two, manager, pods

    def pod_is(self, uid: str | None) -> None:
        """The Pod object of web-0, or that there is none."""
        file = self._pods / "default_web-0.json"
        if uid is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(json.dumps({"metadata": {"uid": uid}}), encoding="utf-8")


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[World]:
    pods = tmp_path / "node" / "pods"
    pods.mkdir(parents=True)
    here = settings(
        nats_server,
        redis_server,
        pod_source="folders",
        pod_folders=f"{tmp_path}/*/pods",
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(here))
        client, server = await stack.enter_async_context(bus_client(nats_server))
        world = World(Agent(client, "node-1"), Agent(client, "node-2"), EniManager(), pods)
        await world.manager.serve(server)
        await registered(world.one)
        await registered(world.two)
        yield world


def a_gone_object(world: World) -> None:
    world.pod_is("uid-2")


def a_gone_instance(world: World) -> None:
    world.manager.conditions["node-1"] = InstanceCondition.GONE


def a_stopped_instance(world: World) -> None:
    world.manager.conditions["node-1"] = InstanceCondition.STOPPED


@pytest.mark.parametrize("proof", [a_gone_object, a_gone_instance, a_stopped_instance])
async def test_a_holder_proven_ended_gives_way_after_its_address_was_moved(
    world: World, proof: Callable[[World], None]
) -> None:
    world.pod_is("uid-1")
    held = await world.one.acquire("web-0", candidate="10.0.0.10")
    proof(world)

    got = await world.two.acquire("web-0", candidate="10.0.0.50", uid="uid-2", sandbox="s2")
    late = await world.one.release("web-0", held.generation)

    assert (got.address, got.eni) == (held.address, "eni-node-2")
    assert [(move.from_eni, move.to_node) for move in world.manager.moves] == [
        ("eni-node-1", "node-2")
    ]
    assert late.release is ReleaseOutcome.STALE


async def test_a_holder_that_may_live_is_waited_for(world: World) -> None:
    world.pod_is("uid-1")
    await world.one.acquire("web-0", candidate="10.0.0.10")

    with pytest.raises(HolderAlive, match="waits until that pod has ended"):
        await world.two.acquire("web-0", candidate="10.0.0.50", uid="uid-2", sandbox="s2")

    assert world.manager.moves == []


async def test_on_its_own_node_even_a_gone_object_is_its_agents_to_end(world: World) -> None:
    world.pod_is("uid-1")
    await world.one.acquire("web-0", candidate="10.0.0.10")
    a_gone_object(world)

    with pytest.raises(HolderAlive):
        await world.one.acquire("web-0", candidate="10.0.0.50", uid="uid-2", sandbox="s2")


async def test_a_full_pool_takes_over_the_slot_of_a_pod_whose_instance_is_gone(
    world: World,
) -> None:
    held = await world.one.acquire(
        "web-a", candidate="10.0.0.10", uid="a", deployment="web", size=1
    )
    a_gone_instance(world)

    got = await world.two.acquire(
        "web-b", candidate="10.0.0.50", uid="b", sandbox="s2", deployment="web", size=1
    )

    assert got.address == held.address
    assert got.identity == held.identity


async def test_a_full_pool_of_pods_that_may_live_is_waited_for(world: World) -> None:
    await world.one.acquire("web-a", candidate="10.0.0.10", uid="a", deployment="web", size=1)

    with pytest.raises(HolderAlive, match="all 1 addresses of Deployment default/web"):
        await world.two.acquire(
            "web-b", candidate="10.0.0.50", uid="b", sandbox="s2", deployment="web", size=1
        )


async def test_a_late_question_of_a_pod_that_has_ended_takes_nothing_over(
    world: World,
) -> None:
    world.pod_is("uid-1")
    await world.one.acquire("web-0", candidate="10.0.0.10")
    world.pod_is("uid-3")

    with pytest.raises(HolderAlive):
        await world.two.acquire("web-0", uid="uid-2", sandbox="s2")

    assert world.manager.moves == []
