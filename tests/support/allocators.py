"""Allocators of a test: real ones over a real bus and store, and the peers they speak with."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

from services.allocator.config import AllocatorSettings
from services.allocator.main import serve
from shared.annotations import DeletePolicy
from shared.bus.client import BusClient
from shared.bus.connection import connect_bus
from shared.bus.server import RequestServer
from shared.clock import SystemClock
from shared.errors import BerthError
from shared.ids import AttachmentKey, ClusterName, Identity, NodeName
from shared.messages.base import (
    AttachmentFields,
    EniFields,
    IdentityFields,
    ServiceName,
    WorkloadFields,
)
from shared.messages.clusters import (
    NODE_INSTANCE,
    InstanceCondition,
    NodeInstance,
    NodeInstanceRequest,
)
from shared.messages.departures import NODE_LEAVE, NodeLeaveRequest, NodeLeft
from shared.messages.leases import (
    LEASE_ACQUIRE,
    LEASE_RELEASE,
    Acquired,
    AcquireRequest,
    Candidate,
    Fence,
    PoolFields,
    Released,
    ReleaseRequest,
)
from shared.messages.moves import (
    ADDRESS_MOVE,
    ADDRESS_RECLAIM,
    Moved,
    MoveRequest,
    Reclaimed,
    ReclaimRequest,
)
from shared.messages.nodes import NODE_REGISTER, RegisterRequest
from tests.support.servers import HasUrl, RedisServer

CLUSTER = ClusterName("test")
SUBNET = "subnet-a"
CLOCK = SystemClock()
PATIENCE = timedelta(seconds=10)


def settings(nats: HasUrl, redis: RedisServer, **changes: object) -> AllocatorSettings:
    return AllocatorSettings.model_validate(
        {
            "cluster": CLUSTER,
            "nats_url": nats.url,
            "redis_url": redis.url,
            "claim_timeout_s": 1.0,
        }
        | changes
    )


@asynccontextmanager
async def running(settings: AllocatorSettings) -> AsyncIterator[None]:
    """One replica in this process; drained when the block ends."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, stop), name="allocator")
    try:
        yield
    finally:
        stop.set()
        await task


class Agent:
    """What a node's agent says, with its fence kept as an agent keeps it."""

    def __init__(self, client: BusClient, node: str) -> None:
        self.client = client
        self.node = NodeName(node)
        self.incarnation = 0
        self.subnet = SUBNET  # of its candidates
        self._sequence = itertools.count(1)

    async def register(self, nonce: str = "start", last: int = 0) -> int:
        answer = await self.client.call(
            NODE_REGISTER,
            RegisterRequest(
                deadline=CLOCK.now() + PATIENCE,
                node=self.node,
                instance=f"ins-{self.node}",
                version="test",
                last_incarnation=last,
                nonce=nonce,
            ),
            self.node,
        )
        self.incarnation = answer.incarnation
        return self.incarnation

    def fence(self) -> Fence:
        sequence = next(self._sequence)
        return Fence(incarnation=self.incarnation, sequence=sequence, lowest_unsettled=sequence)

    def acquire_request(
        self,
        pod: str,
        *,
        candidate: str | None = None,
        uid: str = "uid-1",
        sandbox: str = "s1",
        deployment: str | None = None,
        size: int = 1,
        nominated: str | None = None,
        subnets: tuple[str, ...] = (),
        policy: DeletePolicy = DeletePolicy.NEVER,
    ) -> AcquireRequest:
        return AcquireRequest(
            deadline=CLOCK.now() + PATIENCE,
            node=self.node,
            fence=self.fence(),
            identity=IdentityFields.of(identity(pod)),
            attachment=AttachmentFields.of(AttachmentKey("berth", sandbox, "eth0")),
            pod_uid=uid,
            candidate=Candidate(
                address=IPv4Address(candidate), eni=f"eni-{self.node}", subnet=self.subnet
            )
            if candidate is not None
            else None,
            workload=None
            if deployment is None
            else WorkloadFields(kind="Deployment", name=deployment),
            pool=None if deployment is None else PoolFields(size=size, subnets=(SUBNET,)),
            nominated=None if nominated is None else IPv4Address(nominated),
            nominated_subnets=subnets,
            policy=policy,
        )

    async def send(self, request: AcquireRequest) -> Acquired:
        return await self.client.call(LEASE_ACQUIRE, request, self.node)

    async def acquire(
        self,
        pod: str,
        *,
        candidate: str | None = None,
        uid: str = "uid-1",
        sandbox: str = "s1",
        deployment: str | None = None,
        size: int = 1,
    ) -> Acquired:
        return await self.send(
            self.acquire_request(
                pod,
                candidate=candidate,
                uid=uid,
                sandbox=sandbox,
                deployment=deployment,
                size=size,
            )
        )

    async def release(
        self, pod: str, generation: int, *, uid: str = "uid-1", sandbox: str = "s1"
    ) -> Released:
        return await self.client.call(
            LEASE_RELEASE,
            ReleaseRequest(
                deadline=CLOCK.now() + PATIENCE,
                node=self.node,
                fence=self.fence(),
                identity=IdentityFields.of(identity(pod)),
                attachment=AttachmentFields.of(AttachmentKey("berth", sandbox, "eth0")),
                pod_uid=uid,
                generation=generation,
            ),
            self.node,
        )


async def registered(agent: Agent) -> None:
    """Until the first epoch is open the answer is "try again later"."""
    for _ in range(200):
        try:
            await agent.register()
        except BerthError:
            continue
        return
    raise AssertionError("the allocators never opened an epoch")


class EniManager:
    """A peer that moves and takes back whatever it is asked to, and remembers what that was."""

    def __init__(self) -> None:
        self.moves: list[MoveRequest] = []
        self.reclaimed: list[ReclaimRequest] = []
        self.left: list[str] = []  # nodes that are gone
        self.conditions: dict[str, InstanceCondition] = {}  # of nodes; others run

    async def move(self, request: MoveRequest) -> Moved:
        self.moves.append(request)
        return Moved(
            address=request.address,
            eni=eni_of(request.to_node),
            generation=request.generation,
        )

    async def reclaim(self, request: ReclaimRequest) -> Reclaimed:
        self.reclaimed.append(request)
        return Reclaimed(address=request.address, generation=request.generation)

    async def instance(self, request: NodeInstanceRequest) -> NodeInstance:
        return NodeInstance(
            instance=f"ins-{request.node}",
            condition=self.conditions.get(request.node, InstanceCondition.RUNNING),
        )

    async def leave(self, request: NodeLeaveRequest) -> NodeLeft:
        self.left.append(request.node)
        return NodeLeft(enis=())

    async def serve(self, server: RequestServer) -> None:
        await server.serve_all(
            ServiceName.ENI_MANAGER,
            "a peer in a test",
            {
                ADDRESS_MOVE: self.move,
                ADDRESS_RECLAIM: self.reclaim,
                NODE_INSTANCE: self.instance,
                NODE_LEAVE: self.leave,
            },
        )


def eni_of(node: str) -> EniFields:
    return EniFields(
        eni=f"eni-{node}",
        subnet=SUBNET,
        mac="02:00:00:00:00:01",
        primary_address=IPv4Address("10.0.0.2"),
        subnet_cidr=IPv4Network("10.0.0.0/24"),
        gateway=IPv4Address("10.0.0.1"),
    )


def identity(pod: str) -> Identity:
    return Identity("default", pod, "berth")


@asynccontextmanager
async def bus_client(nats: HasUrl) -> AsyncIterator[tuple[BusClient, RequestServer]]:
    """A client of the bus, and a server on the same connection."""
    connection = await connect_bus(
        AllocatorSettings(cluster=CLUSTER, nats_url=nats.url), client_name="test"
    )
    try:
        client = BusClient(connection, cluster=CLUSTER, clock=CLOCK, rng=random.Random(1))
        server = RequestServer(connection, cluster=CLUSTER, clock=CLOCK, in_flight_max=64)
        yield client, server
    finally:
        await connection.close()


async def trusted() -> None:
    """A store in memory keeps what it acknowledges for as long as its test."""
