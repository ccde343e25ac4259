"""Allocators and node agents of a simulated world: production's own, put together anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final, cast

from nats.aio.client import Client

from services.allocator.adapters.bus_instances import BusInstances
from services.allocator.adapters.cluster_world import BusClusterWorld, BusInventories
from services.allocator.adapters.endpoints import BusEniManager
from services.allocator.domain.ports import Workloads
from services.allocator.durability import Cause, WriteGate
from services.allocator.durable_steps import DurableSteps
from services.allocator.epochs import EPOCH_CONDITION, EpochKeeper
from services.allocator.nominations import Nominations
from services.allocator.parker import Parker
from services.allocator.reaper import Reaper, ReaperLimits
from services.allocator.returning import ReturningNodes
from services.allocator.service import Allocator
from services.allocator.takeovers import TakeOvers
from services.node_agent.composition import Agent, World, compose
from services.node_agent.config import NodeAgentSettings, PodSourceKind
from services.node_agent.domain.ports import PodSource
from services.node_agent.heartbeat import REGISTERED_CONDITION, STOCK_CONDITION
from services.node_agent.registration import Self
from shared.bus.client import BusClient
from shared.bus.server import RequestServer
from shared.ids import AttachmentKey, ClusterName, Identity, InstanceId, NodeName
from shared.messages.base import ServiceName
from shared.messages.events import Event
from shared.messages.leases import LEASE_ACQUIRE, LEASE_RELEASE, LEASE_REPORT
from shared.messages.nodes import AGENT_INVENTORY, NODE_REGISTER, STOCK_OFFER, STOCK_RECALL
from shared.policies import LeasePolicy
from shared.runtime.loops import Loops
from shared.telemetry.health import Readiness
from tests.support.memory_kernel import MemoryExclusiveKernel
from tests.support.wireless_nodes import WirelessKernel

from .books import JournalServer, Line, StoreServer, journal_of, store_of
from .memory_book import MemoryBook, Pages
from .network import Network
from .virtual import Process, VirtualClock, VirtualLoop

CLUSTER: Final = ClusterName("simulated")
_CLAIM_S: Final = 2.0
_JOURNAL_S: Final = 1.0
_REAP_S: Final = 5.0
_COOLING_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every process of the world shares."""

    loop: VirtualLoop
    network: Network
    store: StoreServer
    journal: JournalServer
    clock: VirtualClock
    rng: random.Random
    workloads: Workloads

    def process(self, name: str) -> Process:
        return Process(name, self.loop)

    def client(self, process: Process) -> BusClient:
        member = cast("Client", self.network.join(process))
        return BusClient(member, cluster=CLUSTER, clock=self.clock, rng=self.rng)

    def server(self, process: Process) -> RequestServer:
        member = cast("Client", self.network.join(process))
        return RequestServer(member, cluster=CLUSTER, clock=self.clock, in_flight_max=64)


class _NoRule:
    """The cluster keeps addresses for pods that are away."""

    def check_fixed(self, identity: Identity) -> None:
        return None


class _NoEvents:
    def tell(self, event: Event, *, message_id: str) -> None:
        return None


async def run_allocator(around: Surroundings, process: Process) -> None:
    """One replica, until its process is killed."""
    line = Line(process, around.network, around.rng)
    leases, epoch_store = store_of(around.store, line)
    journal = journal_of(around.journal, line)
    client, clock, events = around.client(process), around.clock, _NoEvents()

    async def keeps_its_promise() -> None:
        return None

    epochs = EpochKeeper(
        leases,
        epoch_store,
        journal,
        clock=clock,
        readiness=Readiness(EPOCH_CONDITION),
        claim_timeout_s=_CLAIM_S,
        check_store=keeps_its_promise,
    )
    gate = WriteGate()
    steps = DurableSteps(leases, journal, events, epochs, gate)
    eni_manager = BusEniManager(client)
    allocator = Allocator(
        leases,
        steps,
        eni_manager,
        events,
        clock,
        _NoRule(),
        TakeOvers(leases, steps, around.workloads, BusInstances(client, clock)),
        ReturningNodes(leases, steps, BusInventories(client), clock),
        Nominations(leases, steps, BusClusterWorld(client, clock), lambda: None),
        default_expires_after=None,
        default_policy=LeasePolicy.NEVER,
    )
    day = timedelta(days=1)
    parker = Parker(leases, steps, eni_manager, clock, after=day, timeout=day)
    limits = ReaperLimits(
        batch_max=16,
        retry=timedelta(seconds=10),
        look=timedelta(seconds=30),
        reclaim_timeout=timedelta(seconds=8),
    )
    reaper = Reaper(
        leases, journal, steps, eni_manager, parker, around.workloads, clock, limits
    )
    async with Loops(around.rng) as loops:
        loops.keep("epoch", epochs.keep)
        loops.every("journal", epochs.finish_rounds, interval_s=_JOURNAL_S)
        loops.every("reaper", reaper.round, interval_s=_REAP_S)
        loops.every("gate", lambda: _look_again(gate), interval_s=_JOURNAL_S)
        await around.server(process).serve_all(
            ServiceName.ALLOCATOR,
            "simulated",
            {
                NODE_REGISTER: allocator.register,
                LEASE_ACQUIRE: allocator.acquire,
                LEASE_RELEASE: allocator.release,
                LEASE_REPORT: allocator.report,
            },
        )
        await asyncio.Event().wait()


async def _look_again(gate: WriteGate) -> None:
    """The journal may take more by now; the next step tells."""
    if gate.is_closed_by(Cause.JOURNAL_REFUSES):
        gate.open(Cause.JOURNAL_REFUSES)


@cache
def _settings(node: NodeName) -> NodeAgentSettings:
    return NodeAgentSettings(
        cluster=CLUSTER,
        node=node,
        instance=InstanceId(f"ins-{node}"),
        pod_source=PodSourceKind.NONE,
        run_dir=Path("unused"),
        state_dir=Path("unused"),
        cooling_s=_COOLING_S,
    )


class Machine:
    """What outlives a node's agent: its disk, its kernel, and DELs that found no agent."""

    def __init__(self, name: NodeName) -> None:
        self.name = name
        self.pages = Pages()
        self.kernel = WirelessKernel()
        self.exclusive = MemoryExclusiveKernel()
        self.spool: list[AttachmentKey] = []
        self.agent: Agent | None = None
        self.process: Process | None = None


async def run_agent(
    around: Surroundings, process: Process, machine: Machine, pods: PodSource
) -> None:
    """The agent of one machine, until its process is killed."""
    settings = _settings(machine.name)
    agent = compose(
        World(
            bus=around.client(process),
            book=MemoryBook(machine.pages, process.check),
            kernel=machine.kernel,
            unlinking_kernel=machine.kernel,
            exclusive_kernel=machine.exclusive,
            pods=pods,
            clock=around.clock,
            rng=around.rng,
            readiness=Readiness(REGISTERED_CONDITION, STOCK_CONDITION),
        ),
        settings,
        Self(node=machine.name, instance=InstanceId(f"ins-{machine.name}"), version="1.0.0"),
    )
    machine.kernel.enis = lambda: agent.ledger.node.enis
    async with Loops(around.rng) as loops:
        agent.start(loops, settings)
        await around.server(process).serve_node(
            machine.name,
            {
                STOCK_OFFER: agent.orders.offer,
                STOCK_RECALL: agent.orders.recall,
                AGENT_INVENTORY: agent.orders.inventory,
            },
        )
        while machine.spool:
            await agent.service.delete(machine.spool[0])
            del machine.spool[0]
        machine.agent = agent
        await asyncio.Event().wait()


def names(count: int) -> Sequence[NodeName]:
    return [NodeName(f"node-{number}") for number in range(1, count + 1)]
