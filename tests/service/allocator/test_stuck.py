"""What must not leave a lease, or the loop that journals leases, standing still for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from services.allocator import service
from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.durability import WriteGate
from shared.errors import InvalidInput, Unavailable, WrongSubnet
from shared.ids import ClusterName
from shared.messages.base import ServiceName
from shared.messages.leases import LEASE_LIST, LeaseListRequest
from shared.messages.moves import ADDRESS_MOVE, Moved, MoveRequest
from tests.support.allocators import (
    CLOCK,
    PATIENCE,
    Agent,
    bus_client,
    eni_of,
    identity,
    registered,
    running,
    settings,
)
from tests.support.servers import NatsServer, RedisServer

CLUSTER = ClusterName("test")
MARKS = 40_000


@pytest.fixture
async def agents(
    nats_server: NatsServer, redis_server: RedisServer
) -> AsyncIterator[tuple[Agent, Agent]]:
    """A node in the address' zone, one in another, and an eni_manager that refuses moves."""

    async def refuse(request: MoveRequest) -> Moved:
        raise WrongSubnet(f"{request.address} is of another zone than {request.to_node}")

    here = settings(nats_server, redis_server)
    async with running(here), bus_client(nats_server) as (client, server):
        await server.serve_all(ServiceName.ENI_MANAGER, "a peer", {ADDRESS_MOVE: refuse})
        home, away = Agent(client, "node-1"), Agent(client, "node-2")
        for agent in (home, away):
            await registered(agent)
        yield home, away


async def test_a_pod_that_comes_home_after_a_refused_move_gets_its_address(
    agents: tuple[Agent, Agent],
) -> None:
    home, away = agents
    first = await home.acquire("web-0", candidate="10.0.0.10")
    await home.release("web-0", first.generation)
    with pytest.raises(WrongSubnet):
        await away.acquire("web-0", uid="uid-2", sandbox="s2")

    back = await home.acquire("web-0", uid="uid-3", sandbox="s3")

    assert back.address == first.address


async def test_a_move_that_nobody_finishes_is_finished_by_whoever_waits(
    nats_server: NatsServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_MOVE_TAKES", timedelta(0))
    asked: list[str] = []

    async def move(request: MoveRequest) -> Moved:
        asked.append(request.to_node)
        if len(asked) == 1:
            raise Unavailable("the cloud does not answer")
        return Moved(
            address=request.address,
            eni=eni_of(request.to_node),
            generation=request.generation,
        )

    here = settings(nats_server, redis_server)
    async with running(here), bus_client(nats_server) as (client, server):
        await server.serve_all(ServiceName.ENI_MANAGER, "a peer", {ADDRESS_MOVE: move})
        one, two, three = (Agent(client, f"node-{number}") for number in (1, 2, 3))
        for agent in (one, two, three):
            await registered(agent)
        first = await one.acquire("web-0", candidate="10.0.0.10")
        await one.release("web-0", first.generation)
        with pytest.raises(Unavailable):
            await two.acquire("web-0", uid="uid-2", sandbox="s2")

        got = await three.acquire("web-0", uid="uid-3", sandbox="s3")

    assert got.address == first.address
    assert asked == ["node-2", "node-2", "node-3"]


async def test_a_span_that_is_not_allowed_is_refused_before_it_is_stored(
    agents: tuple[Agent, Agent],
) -> None:
    home, _ = agents
    bad = home.acquire_request("web-0", candidate="10.0.0.10").model_copy(
        update={"expires_after": timedelta(seconds=-5)}
    )

    with pytest.raises(InvalidInput, match="expires_after"):
        await home.send(bad)

    page = await home.client.call(LEASE_LIST, LeaseListRequest(deadline=CLOCK.now() + PATIENCE))
    assert page.leases == []


async def test_a_large_backlog_of_unjournaled_steps_is_worked_off(redis: Redis) -> None:
    tokens = [identity(f"web-{number}").token for number in range(MARKS)]
    body = '{"v":1,"a":"10.0.0.1","s":"retained","g":"1","sn":"s","t":1}'
    await redis.hset("berth:{test}:lease:fixed", mapping=dict.fromkeys(tokens, body))
    await redis.hset("berth:{test}:lease:unjournaled", mapping=dict.fromkeys(tokens, "1"))
    store = RedisLeases(redis, CLUSTER, WriteGate())

    while found := await store.unjournaled(256):
        done = [lease.identity.token for lease in found]
        await redis.hdel("berth:{test}:lease:unjournaled", *done)

    assert await redis.hlen("berth:{test}:lease:unjournaled") == 0
