"""Store and journal lost at once: what living pods hold comes back from their nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest
from redis.asyncio import Redis

from services.allocator.config import AllocatorSettings
from shared.addresses import AddressState
from shared.bus.connection import connect_bus
from shared.bus.server import RequestServer
from shared.errors import BerthError, NotFound
from shared.ids import AttachmentKey
from shared.messages.base import AttachmentFields, IdentityFields
from shared.messages.leases import LEASE_GET, LeaseGetRequest, LeaseView, ReleaseOutcome
from shared.messages.nodes import AGENT_INVENTORY, Inventory, InventoryEntry, InventoryRequest
from shared.messages.subjects import journal_stream
from tests.support.allocators import (
    CLOCK,
    CLUSTER,
    PATIENCE,
    Agent,
    bus_client,
    eni_of,
    identity,
    running,
    settings,
)
from tests.support.lease_storm import acquired, register
from tests.support.servers import NatsServer, RedisServer


@dataclass
class Node:
    """An agent with the inventory that it would tell of."""

    agent: Agent
    holds: dict[str, tuple[str, int]] = field(default_factory=dict)

    async def bind(self, pod: str, address: str) -> None:
        got = await self.agent.acquire(pod, candidate=address)
        self.holds[pod] = (str(got.address), got.generation)

    async def inventory(self, request: InventoryRequest) -> Inventory:
        node = self.agent.node
        return Inventory(
            node=node,
            instance=f"ins-{node}",
            incarnation=self.agent.incarnation,
            enis=[eni_of(node)],
            addresses=[
                InventoryEntry(
                    address=IPv4Address(address),
                    eni=f"eni-{node}",
                    state=AddressState.BOUND_FIXED,
                    identity=IdentityFields.of(identity(pod)),
                    pod_uid="uid-1",
                    attachment=AttachmentFields.of(AttachmentKey("berth", "s1", "eth0")),
                    generation=generation,
                    since=CLOCK.now(),
                )
                for pod, (address, generation) in self.holds.items()
            ],
        )


@dataclass
class World:
    one: Node
    away: Node  # never answers
    redis: Redis
    nats: NatsServer

    async def lose_both(self) -> None:
        """At once: either is built anew from the other as soon as its loss is noticed."""
        bus = await connect_bus(self.settings, client_name="saboteur")
        await self.redis.ping()
        await asyncio.gather(
            bus.jetstream().delete_stream(journal_stream(CLUSTER)), self.redis.flushall()
        )
        await bus.close()

    @property
    def settings(self) -> AllocatorSettings:
        return AllocatorSettings(cluster=CLUSTER, nats_url=self.nats.url)

    async def lease(self, pod: str) -> LeaseView:
        request = LeaseGetRequest(
            deadline=CLOCK.now() + PATIENCE, identity=IdentityFields.of(identity(pod))
        )
        return (await self.one.agent.client.call(LEASE_GET, request)).lease


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, redis: Redis
) -> AsyncIterator[World]:
    here = settings(nats_server, redis_server, durability_interval_s=0.1)
    async with running(here), running(here), bus_client(nats_server) as (client, server):
        world = World(
            Node(Agent(client, "node-1")), Node(Agent(client, "node-2")), redis, nats_server
        )
        await _serve(world.one, server)
        await register(world.one.agent)
        await register(world.away.agent)
        yield world


async def _serve(node: Node, server: RequestServer) -> None:
    await server.serve_node(node.agent.node, {AGENT_INVENTORY: node.inventory})


async def test_bound_leases_come_back_from_the_inventories(world: World) -> None:
    await world.one.bind("web-0", "10.0.0.10")
    await world.one.bind("web-1", "10.0.0.11")
    await world.away.bind("far-0", "10.0.0.50")
    await world.lose_both()

    await register(world.one.agent)

    assert {pod: str((await world.lease(pod)).address) for pod in ("web-0", "web-1")} == {
        "web-0": "10.0.0.10",
        "web-1": "10.0.0.11",
    }
    with pytest.raises(NotFound):
        await world.lease("far-0")
    released = await world.one.agent.release("web-1", world.one.holds["web-1"][1])
    assert released.release is ReleaseOutcome.RETAINED
    again = await acquired(world.one.agent, "web-0", "10.9.9.9")
    assert str(again) == "10.0.0.10"


async def test_what_came_back_is_journaled(world: World) -> None:
    await world.one.bind("web-0", "10.0.0.10")
    await world.lose_both()
    await register(world.one.agent)

    await world.redis.flushall()
    await register(world.one.agent)

    assert str((await world.lease("web-0")).address) == "10.0.0.10"


async def test_an_address_that_is_anothers_by_now_is_not_taken_from_it(world: World) -> None:
    await world.one.bind("web-0", "10.0.0.10")
    await world.lose_both()
    await register(world.away.agent)
    await world.away.bind("other-0", "10.0.0.10")

    await register(world.one.agent)

    assert str((await world.lease("other-0")).address) == "10.0.0.10"
    with pytest.raises(NotFound):
        await world.lease("web-0")


async def test_a_store_rebuilt_from_the_journal_believes_the_journal(world: World) -> None:
    await world.one.bind("web-0", "10.0.0.10")
    await world.one.agent.release("web-0", world.one.holds["web-0"][1])

    await world.redis.flushall()
    await register(world.one.agent)

    lease = await world.lease("web-0")
    assert (str(lease.address), lease.state) == ("10.0.0.10", AddressState.RETAINED)


async def test_an_agent_that_does_not_answer_delays_only_itself(world: World) -> None:
    await world.one.bind("web-0", "10.0.0.10")
    await world.away.bind("far-0", "10.0.0.50")
    await world.lose_both()

    await register(world.one.agent)
    got = await world.one.agent.acquire("web-2", candidate="10.0.0.12")
    await register(world.away.agent)

    assert str(got.address) == "10.0.0.12"
    with pytest.raises(BerthError):
        await world.lease("far-0")
