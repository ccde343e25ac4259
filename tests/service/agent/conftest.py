"""An agent over a real bus, its kernel in memory, and stand-ins for the other services."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

import pytest
from nats.aio.client import Client

from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.late_bus import LateBus
from services.node_agent.composition import Agent
from services.node_agent.domain.ports import Link
from services.node_agent.domain.requests import Add, Wired
from services.node_agent.main import Connected
from shared.bus.client import BusClient
from shared.bus.connection import connect_bus
from shared.bus.server import RequestServer
from shared.clock import SystemClock
from shared.errors import BerthError, StockEmpty
from shared.ids import ClusterName, PodName, PodUid
from shared.messages.leases import (
    LEASE_ACQUIRE,
    LEASE_RELEASE,
    LEASE_REPORT,
    Acquired,
    AcquireRequest,
    Released,
    ReleaseOutcome,
    ReleaseRequest,
    Reported,
    ReportRequest,
)
from shared.messages.nodes import (
    NODE_REGISTER,
    NODE_WANT,
    STOCK_OFFER,
    STOCK_RECALL,
    NodeCapacity,
    OfferAccepted,
    Registered,
    RegisterRequest,
    StockRecall,
    StockRecalled,
    Wanted,
    WantRequest,
)
from shared.runtime.loops import Loops
from shared.settings import ServiceSettings
from shared.telemetry.health import Readiness
from tests.support.agent_world import (
    ENI_MAC,
    NODE,
    PRIMARY_MAC,
    key,
    make_agent,
    offer,
    settings,
    soon,
)
from tests.support.memory_kernel import MemoryKernel
from tests.support.servers import NatsServer

CLUSTER = ClusterName("default")


@dataclass
class StandIn:
    """Allocator and eni_manager as this node meets them; tests change what they answer."""

    leases: dict[str, Acquired] = field(default_factory=dict)
    acquires: list[AcquireRequest] = field(default_factory=list)
    releases: list[ReleaseRequest] = field(default_factory=list)
    reports: list[ReportRequest] = field(default_factory=list)
    wants: list[WantRequest] = field(default_factory=list)
    incarnation: int = 0
    lose_answers: int = 0  # the work is done, the answer never comes
    refusal: BerthError | None = None
    capacity: NodeCapacity | None = None
    problem: str | None = None  # of the node, as an eni_manager tells it
    said: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def register(self, request: RegisterRequest) -> Registered:
        self.incarnation = max(self.incarnation, request.last_incarnation) + 1
        return Registered(incarnation=self.incarnation)

    async def acquire(self, request: AcquireRequest) -> Acquired:
        self.acquires.append(request)
        await self._tell()
        if self.refusal is not None:
            raise self.refusal
        acquired = self._lease(request)
        if self.lose_answers > 0:
            self.lose_answers -= 1
            await asyncio.sleep(60)  # cut off by the request's own deadline
        return acquired

    def _lease(self, request: AcquireRequest) -> Acquired:
        known = self.leases.get(request.identity.name)
        if known is not None:
            is_same = request.candidate and request.candidate.address == known.address
            return known.model_copy(update={"candidate_taken": bool(is_same)})
        if request.candidate is None:
            raise StockEmpty("no candidate")
        acquired = Acquired(
            address=request.candidate.address,
            eni=request.candidate.eni,
            subnet=request.candidate.subnet,
            generation=1 << 40 | (len(self.leases) + 1),
            candidate_taken=True,
        )
        self.leases[request.identity.name] = acquired
        return acquired

    async def release(self, request: ReleaseRequest) -> Released:
        self.releases.append(request)
        await self._tell()
        return Released(release=ReleaseOutcome.RETAINED)

    async def report(self, request: ReportRequest) -> Reported:
        self.reports.append(request)
        await self._tell()
        leased = {acquired.address for acquired in self.leases.values()}
        return Reported(
            count=len(request.addresses),
            leased=tuple(each for each in request.withdrawn if each in leased),
        )

    async def want(self, request: WantRequest) -> Wanted:
        self.wants.append(request)
        await self._tell()
        return Wanted(capacity=self.capacity, problem=self.problem)

    async def until(self, claim: Callable[[], bool]) -> None:
        """Wait until something said here makes the claim true."""
        async with asyncio.timeout(10), self.said:
            await self.said.wait_for(claim)

    async def _tell(self) -> None:
        async with self.said:
            self.said.notify_all()


@dataclass
class Node:
    """One agent, and the service side's hand on it."""

    agent: Agent
    kernel: MemoryKernel
    calls: BusClient

    async def offer(self, *addresses: IPv4Address, sequence: int = 1) -> OfferAccepted:
        order = offer(*addresses, sequence=sequence)
        return await self.calls.call(STOCK_OFFER, order, NODE)

    async def recall(self, recall: str, count: int, *, sequence: int = 2) -> StockRecalled:
        order = StockRecall(
            deadline=soon(), node=NODE, term=1, sequence=sequence, recall=recall, count=count
        )
        return await self.calls.call(STOCK_RECALL, order, NODE)

    async def add(
        self, container: str, pod: PodName | None = None, uid: str = "", seconds: float = 5.0
    ) -> Wired:
        return await self.agent.service.add(
            Add(
                key=key(container),
                pod=pod,
                pod_uid=PodUid(uid) if uid else None,
                netns_fd=0,
                netns_path="",
                mode=None,
                is_pod_known=pod is not None,
                deadline=soon(seconds),
            )
        )


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
async def service_bus(nats_server: NatsServer, stand_in: StandIn) -> AsyncIterator[Client]:
    """The other services' connection, with the stand-in serving on it."""
    nats = await connect_bus(ServiceSettings(nats_url=nats_server.url), client_name="services")
    server = RequestServer(nats, cluster=CLUSTER, clock=SystemClock(), in_flight_max=64)
    await server.serve_all(
        "stand_in",
        "answers agents",
        {
            NODE_REGISTER: stand_in.register,
            LEASE_ACQUIRE: stand_in.acquire,
            LEASE_RELEASE: stand_in.release,
            LEASE_REPORT: stand_in.report,
            NODE_WANT: stand_in.want,
        },
    )
    yield nats
    await server.drain(grace_s=2)
    with suppress(OSError):  # a test may have taken the bus away
        await nats.drain()


class Boot(Protocol):
    """Starts the agent, with settings changed as named."""

    async def __call__(self, **changes: Any) -> Node: ...


@pytest.fixture
async def boot(
    tmp_path: Path, nats_server: NatsServer, service_bus: Client
) -> AsyncIterator[Boot]:
    """Start the agent; another call is what follows a kill -9: nothing was said goodbye."""
    kernel = MemoryKernel(
        Link(name="eth0", index=2, mac=PRIMARY_MAC, mtu=1500, is_up=True),
        Link(name="eth1", index=3, mac=ENI_MAC, mtu=1500, is_up=True),
    )
    running: list[tuple[FileBook, LateBus, Loops, Agent]] = []

    async def stop() -> None:
        while running:
            book, bus, loops, agent = running.pop()
            await agent.fixed.aclose()
            await loops.stop()
            await bus.aclose()
            book.close()

    async def start(**changes: Any) -> Node:
        await stop()
        rng, clock = random.Random(len(running)), SystemClock()
        given: dict[str, Any] = {"nats_url": nats_server.url, "report_interval_s": 0.2}
        given |= changes
        chosen = settings(tmp_path, **given)
        bus = LateBus(
            chosen,
            client_name=f"node_agent-{NODE}",
            readiness=Readiness(),
            clock=clock,
            rng=rng,
        )
        book = FileBook(run_dir=tmp_path / "run", state_dir=tmp_path / "state")
        agent = make_agent(tmp_path, bus=bus, book=book, kernel=kernel, **given)
        loops = Loops(rng)
        running.append((book, bus, loops, agent))
        await bus.connect()
        agent.start(loops, chosen)
        assert bus.nats is not None
        await Connected(agent, chosen).listen(bus.nats)
        calls = BusClient(service_bus, cluster=CLUSTER, clock=clock, rng=rng)
        return Node(agent=agent, kernel=kernel, calls=calls)

    yield start
    await stop()


@pytest.fixture
async def node(boot: Boot) -> Node:
    return await boot()
