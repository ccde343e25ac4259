"""Leases on their way to a node that is gone for ever: they go on to the next one that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from shared.addresses import AddressState
from shared.bus.client import BusClient
from shared.errors import Moving, Unavailable
from shared.messages.base import IdentityFields
from shared.messages.clusters import InstanceCondition
from shared.messages.departures import (
    NODE_GONE,
    NodeGone,
    NodeGoneRequest,
)
from shared.messages.leases import LEASE_GET, LeaseGetRequest, LeaseView
from shared.messages.moves import Moved, MoveRequest
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


class StuckManager(EniManager):
    """Moves to node-1 never end; its instance is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.conditions["node-1"] = InstanceCondition.GONE

    async def move(self, request: MoveRequest) -> Moved:
        if request.to_node == "node-1":
            raise Unavailable("the cloud is slow")
        return await super().move(request)


class World:
    def __init__(self, client: BusClient, manager: StuckManager) -> None:
        self.client, self.manager = client, manager
        self.one, self.two = Agent(client, "node-1"), Agent(client, "node-2")

    async def said_gone(self) -> NodeGone:
        request = NodeGoneRequest(deadline=CLOCK.now() + PATIENCE, node="node-1", by="ann")
        return await self.client.call(NODE_GONE, request)

    async def lease(self, pod: str) -> LeaseView:
        request = LeaseGetRequest(
            deadline=CLOCK.now() + PATIENCE, identity=IdentityFields.of(identity(pod))
        )
        return (await self.client.call(LEASE_GET, request)).lease


@pytest.fixture
async def world(nats_server: NatsServer, redis_server: RedisServer) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(settings(nats_server, redis_server)))
        client, server = await stack.enter_async_context(bus_client(nats_server))
        world = World(client, StuckManager())
        await world.manager.serve(server)
        await registered(world.one)
        await registered(world.two)
        yield world


async def test_a_lease_on_its_way_to_the_node_goes_on_to_another(world: World) -> None:
    held = await world.two.acquire("web-0", candidate="10.0.0.10")
    await world.two.release("web-0", held.generation)
    with pytest.raises(Unavailable):
        await world.one.acquire("web-0", uid="uid-2", sandbox="s2")
    with pytest.raises(Moving):
        await world.two.acquire("web-0", uid="uid-3", sandbox="s3")

    gone = await world.said_gone()

    assert (gone.leases, world.manager.left) == (1, ["node-1"])
    assert (await world.lease("web-0")).state is AddressState.PARKED
    got = await world.two.acquire("web-0", uid="uid-3", sandbox="s3")
    assert got.address == held.address
    assert world.manager.moves[-1].to_node == "node-2"


async def test_leases_of_other_nodes_stay_as_they_are(world: World) -> None:
    held = await world.two.acquire("web-0", candidate="10.0.0.10")

    gone = await world.said_gone()

    lease = await world.lease("web-0")
    assert gone.leases == 0
    assert (lease.state, lease.generation) == (AddressState.BOUND_FIXED, held.generation)
