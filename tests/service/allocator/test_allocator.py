"""Two allocators over a real bus and a real store: who gets which address, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from shared.errors import BerthError, HolderAlive, LeaseInUse, NotFound, Stale, StockEmpty
from shared.messages.base import IdentityFields
from shared.messages.leases import (
    LEASE_GET,
    LEASE_LIST,
    Acquired,
    LeaseGetRequest,
    LeaseListRequest,
    LeaseView,
    ReleaseOutcome,
)
from tests.support.allocators import (
    CLOCK,
    PATIENCE,
    Agent,
    EniManager,
    bus_client,
    identity,
    registered,
    running,
    settings,
)
from tests.support.servers import NatsServer, RedisServer


@dataclass
class World:
    one: Agent
    two: Agent
    manager: EniManager

    async def lease(self, pod: str) -> LeaseView:
        found = await self.one.client.call(
            LEASE_GET,
            LeaseGetRequest(
                deadline=CLOCK.now() + PATIENCE, identity=IdentityFields.of(identity(pod))
            ),
        )
        return found.lease


@pytest.fixture
async def world(nats_server: NatsServer, redis_server: RedisServer) -> AsyncIterator[World]:
    """Two replicas, two registered nodes, and an eni_manager that moves what it is told to."""
    here = settings(nats_server, redis_server)
    async with running(here), running(here), bus_client(nats_server) as (client, server):
        world = World(Agent(client, "node-1"), Agent(client, "10.0.0.2"), EniManager())
        await world.manager.serve(server)
        await registered(world.one)
        await registered(world.two)
        yield world


async def test_the_candidate_becomes_the_lease_of_a_new_identity(world: World) -> None:
    got = await world.one.acquire("web-0", candidate="10.0.0.10")

    lease = await world.lease("web-0")
    assert (str(got.address), got.candidate_taken) == ("10.0.0.10", True)
    assert (lease.state, lease.node, lease.pod_uid) == ("bound_fixed", "node-1", "uid-1")


async def test_a_pod_that_comes_back_gets_its_address_and_the_candidate_stays_stock(
    world: World,
) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10")
    released = await world.one.release("web-0", first.generation)

    again = await world.one.acquire("web-0", candidate="10.0.0.11", uid="uid-2", sandbox="s2")

    assert released.release is ReleaseOutcome.RETAINED
    assert (again.address, again.candidate_taken) == (first.address, False)
    assert again.generation > first.generation


async def test_a_pod_on_another_node_gets_its_address_moved_there_first(world: World) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10")
    await world.one.release("web-0", first.generation)

    again = await world.two.acquire("web-0", candidate="10.0.0.50", uid="uid-2", sandbox="s2")

    lease = await world.lease("web-0")
    assert again.address == first.address
    assert again.moved_eni is not None
    assert again.moved_eni.eni == again.eni == "eni-10.0.0.2"
    assert [(move.from_eni, move.to_node) for move in world.manager.moves] == [
        ("eni-node-1", "10.0.0.2")
    ]
    assert (lease.node, lease.state) == ("10.0.0.2", "bound_fixed")


async def test_a_living_holder_is_named_and_not_robbed(world: World) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10")

    with pytest.raises(HolderAlive, match=r"10\.0\.0\.10 .* uid-1 on node node-1"):
        await world.two.acquire("web-0", candidate="10.0.0.50", uid="uid-2", sandbox="s2")

    assert (await world.lease("web-0")).generation == first.generation


async def test_the_same_request_twice_gets_the_same_answer(world: World) -> None:
    request = world.one.acquire_request("web-0", candidate="10.0.0.10")

    first = await world.one.send(request)
    second = await world.one.send(request)

    assert first == second


async def test_a_second_sandbox_of_the_same_pod_keeps_the_address(world: World) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10", sandbox="s1")
    second = await world.one.acquire("web-0", candidate="10.0.0.11", sandbox="s2")

    late = await world.one.release("web-0", first.generation, sandbox="s1")

    assert second.address == first.address
    assert late.release is ReleaseOutcome.STALE
    assert (await world.lease("web-0")).state == "bound_fixed"


async def test_a_release_twice_is_answered_the_same(world: World) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10")

    answers = [await world.one.release("web-0", first.generation) for _ in range(2)]

    assert [answer.release for answer in answers] == [ReleaseOutcome.RETAINED] * 2


async def test_releasing_what_nobody_holds_is_answered(world: World) -> None:
    answer = await world.one.release("ghost-0", 1)

    assert answer.release is ReleaseOutcome.UNKNOWN


async def test_a_late_message_of_an_earlier_life_is_refused(world: World) -> None:
    late = world.one.acquire_request("web-0", candidate="10.0.0.10")

    await world.one.register(nonce="restarted", last=world.one.incarnation)

    with pytest.raises(Stale):
        await world.one.send(late)
    with pytest.raises(NotFound):
        await world.lease("web-0")


async def test_a_message_below_the_settled_mark_is_refused(world: World) -> None:
    late = world.one.acquire_request("web-0", candidate="10.0.0.10")

    await world.one.acquire("web-1", candidate="10.0.0.11")

    with pytest.raises(Stale, match="older than what was settled"):
        await world.one.send(late)


async def test_a_start_repeated_with_the_same_nonce_keeps_its_incarnation(
    world: World,
) -> None:
    first = world.one.incarnation

    repeated = await world.one.register(nonce="start")
    next_life = await world.one.register(nonce="another")

    assert (repeated, next_life) == (first, first + 1)


async def test_two_identities_never_get_one_address(world: World) -> None:
    await world.one.acquire("web-0", candidate="10.0.0.10")

    with pytest.raises(LeaseInUse, match=r"10\.0\.0\.10 is another identity's lease"):
        await world.one.acquire("web-1", candidate="10.0.0.10")


async def test_a_new_identity_without_a_candidate_waits_for_stock(world: World) -> None:
    with pytest.raises(StockEmpty, match="node node-1 named no idle address"):
        await world.one.acquire("web-0")


async def test_leases_are_listed_page_by_page(world: World) -> None:
    for index in range(5):
        await world.one.acquire(f"web-{index}", candidate=f"10.0.0.{10 + index}")

    found: list[LeaseView] = []
    cursor = "0"
    while True:
        page = await world.one.client.call(
            LEASE_LIST,
            LeaseListRequest(deadline=CLOCK.now() + PATIENCE, cursor=cursor, limit=2),
        )
        found += page.leases
        cursor = page.next_cursor
        if cursor == "0":
            break

    names = {lease.identity.name for lease in found if lease.identity is not None}
    assert names == {f"web-{index}" for index in range(5)}


async def test_an_acknowledged_lease_survives_kill_9_of_the_store(
    world: World, redis_server: RedisServer
) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10")

    await redis_server.restart()

    again = await _eventually_acquired(world.one, "web-0")
    assert again.address == first.address
    assert again.generation > first.generation


async def test_an_emptied_store_is_rebuilt_from_the_journal(world: World, redis: Redis) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10")
    await world.one.release("web-0", first.generation)

    await redis.flushall()

    again = await _eventually_acquired(world.one, "web-0", uid="uid-2")
    assert again.address == first.address
    assert again.generation > first.generation


async def _eventually_acquired(agent: Agent, pod: str, uid: str = "uid-1") -> Acquired:
    deadline = CLOCK.now() + timedelta(seconds=20)
    while True:
        try:
            await agent.register(nonce=f"again-{agent.incarnation}", last=agent.incarnation)
            return await agent.acquire(pod, candidate="10.0.0.99", uid=uid, sandbox="s9")
        except BerthError:
            assert CLOCK.now() < deadline, "the allocators did not recover"
