"""Addresses that pods name, over a real bus and a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Network

import pytest
from redis.asyncio import Redis

from shared.annotations import DeletePolicy
from shared.bus.server import RequestServer
from shared.errors import BerthError, CloudRefused, InvalidInput, Moving, Unavailable
from shared.messages.base import ServiceName
from shared.messages.cluster_life import (
    SUBNET_INSPECT,
    SubnetFacts,
    SubnetInspectRequest,
    SubnetsInspected,
)
from shared.messages.leases import Acquired
from shared.messages.moves import Moved, MoveRequest
from shared.store.cluster_records import CLUSTER_NOUN, encode_cluster
from shared.store.keys import lease_key
from tests.support.allocators import (
    CLUSTER,
    SUBNET,
    Agent,
    EniManager,
    bus_client,
    registered,
    running,
    settings,
)
from tests.support.clusters import enabled_cluster
from tests.support.servers import NatsServer, RedisServer

NAMED = "10.0.0.77"


class Peer(EniManager):
    """It also knows the subnet; tests have it refuse moves."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[BerthError] = []

    async def move(self, request: MoveRequest) -> Moved:
        moved = await super().move(request)
        if self.refusals:
            raise self.refusals.pop(0)
        return moved

    async def inspect(self, request: SubnetInspectRequest) -> SubnetsInspected:
        facts = SubnetFacts(
            subnet=SUBNET,
            vpc="vpc-one",
            zone="zone-1",
            cidr=IPv4Network("10.0.0.0/24"),
            free=200,
            total=253,
            enis=0,
            addresses=0,
        )
        return SubnetsInspected(revision=1, subnets=[facts], enis=0)

    async def serve(self, server: RequestServer) -> None:
        await super().serve(server)
        await server.serve_all(
            ServiceName.ENI_MANAGER, "its looks", {SUBNET_INSPECT: self.inspect}
        )


@dataclass
class World:
    one: Agent
    two: Agent
    manager: Peer


@pytest.fixture
async def world(nats_server: NatsServer, redis_server: RedisServer) -> AsyncIterator[World]:
    async with Redis.from_url(redis_server.url) as redis:
        record = encode_cluster(enabled_cluster(SUBNET))
        await redis.set(lease_key(CLUSTER, CLUSTER_NOUN), record)
    here = settings(nats_server, redis_server, reap_interval_s=0.05)
    async with running(here), bus_client(nats_server) as (client, server):
        world = World(Agent(client, "node-1"), Agent(client, "node-2"), Peer())
        await world.manager.serve(server)
        await registered(world.one)
        await registered(world.two)
        yield world


async def named(
    agent: Agent,
    pod: str = "web-0",
    address: str = NAMED,
    *,
    policy: DeletePolicy = DeletePolicy.IMMEDIATE,
    candidate: str | None = None,
) -> Acquired:
    return await agent.send(
        agent.acquire_request(pod, nominated=address, policy=policy, candidate=candidate)
    )


async def test_a_pod_gets_the_address_that_it_names_which_is_brought_to_its_node(
    world: World,
) -> None:
    got = await named(world.one)

    assert str(got.address) == NAMED
    assert got.moved_eni is not None
    assert got.note is None
    assert [(str(it.address), it.from_eni, it.to_node) for it in world.manager.moves] == [
        (NAMED, None, "node-1")
    ]


async def test_what_is_in_the_nodes_own_stock_is_taken_from_there(world: World) -> None:
    got = await named(world.one, candidate=NAMED)

    assert (str(got.address), got.candidate_taken) == (NAMED, True)
    assert world.manager.moves == []


async def test_a_lease_that_is_there_wins_and_the_answer_says_so(world: World) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10")
    await world.one.release("web-0", first.generation)

    got = await named(world.one, policy=DeletePolicy.NEVER)

    assert got.address == first.address
    assert got.note is not None
    assert "10.0.0.10" in got.note
    assert NAMED in got.note
    assert world.manager.moves == []


async def test_a_lease_in_another_subnet_than_those_named_wins_and_the_answer_says_so(
    world: World,
) -> None:
    first = await world.one.acquire("web-0", candidate="10.0.0.10")
    await world.one.release("web-0", first.generation)

    got = await world.one.send(world.one.acquire_request("web-0", subnets=("sub-b", "sub-c")))

    assert got.address == first.address
    assert got.note is not None
    assert f"the lease of 10.0.0.10 in {SUBNET}" in got.note
    assert "nominated sub-b, sub-c" in got.note


async def test_an_address_of_a_subnet_that_the_pod_names_needs_no_note(world: World) -> None:
    asked = world.one.acquire_request("web-0", candidate="10.0.0.10", subnets=("sub-b", SUBNET))

    got = await world.one.send(asked)

    assert (str(got.address), got.note) == ("10.0.0.10", None)


async def test_an_address_that_another_has_is_refused_with_whose_it_is(world: World) -> None:
    await world.one.acquire("web-1", candidate=NAMED)

    with pytest.raises(InvalidInput, match=r"nominated-vpc-ip .* this one is default/web-1"):
        await named(world.two)

    assert world.manager.moves == []


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.255", "10.0.9.9"])
async def test_no_other_address_than_one_that_a_pod_can_have_becomes_a_lease(
    world: World, address: str
) -> None:
    with pytest.raises(InvalidInput):
        await named(world.one, address=address)

    assert world.manager.moves == []


async def test_a_refusal_of_the_cloud_reaches_the_pod_and_leaves_nothing_behind(
    world: World,
) -> None:
    world.manager.refusals.append(CloudRefused(f"{NAMED} was taken by somebody else (a CLB)"))

    with pytest.raises(CloudRefused, match="taken by somebody else"):
        await named(world.one)

    # Handed over, it is nobody's: another pod may name it, on another node.
    got = await _once_free(world.two, "web-1")
    assert str(got.address) == NAMED
    assert [(str(it.address), it.node) for it in world.manager.reclaimed] == [(NAMED, "node-1")]


async def test_what_is_not_answered_stays_on_its_way_and_is_asked_again(world: World) -> None:
    world.manager.refusals.append(Unavailable("the cloud does not answer"))
    with pytest.raises(Unavailable):
        await named(world.one)

    got = await named(world.one)

    assert str(got.address) == NAMED
    first, second = world.manager.moves
    assert first.generation == second.generation


async def test_under_immediate_the_address_is_given_back_with_its_pod(world: World) -> None:
    got = await named(world.one)

    await world.one.release("web-0", got.generation)

    again = await _once_free(world.two, "web-1")
    assert str(again.address) == NAMED
    assert [str(it.address) for it in world.manager.reclaimed] == [NAMED]


async def _once_free(agent: Agent, pod: str) -> Acquired:
    """The reaper hands an ended lease over within a round."""
    for _ in range(500):
        try:
            return await named(agent, pod)
        except (InvalidInput, Moving):
            continue
    raise AssertionError("the address was never handed over")
