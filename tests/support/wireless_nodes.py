"""Many nodes in one process: real agents on the real bus, with no wire behind them.

Composition, book and orders are those of production; only the kernel is in memory. An ENI's
link is there as soon as the agent has heard of the ENI, because the eni_manager tells of one
only once the cloud has attached it.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

from nats.aio.client import Client

from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.pods import NoPods
from services.node_agent.composition import Agent, World, compose
from services.node_agent.config import NodeAgentSettings, PodSourceKind
from services.node_agent.domain.enis import Eni
from services.node_agent.domain.ports import Link
from services.node_agent.domain.requests import Add, Wired
from services.node_agent.heartbeat import REGISTERED_CONDITION, STOCK_CONDITION
from services.node_agent.registration import Self
from shared.bus.client import BusClient
from shared.bus.server import RequestServer
from shared.clock import SystemClock
from shared.ids import AttachmentKey, ClusterName, InstanceId, NodeName
from shared.messages.nodes import AGENT_INVENTORY, STOCK_OFFER, STOCK_RECALL
from shared.runtime.loops import Loops
from shared.telemetry.health import Readiness
from tests.support.memory_kernel import MemoryExclusiveKernel, MemoryKernel

NETWORK = "berth"
_ORDERS_IN_FLIGHT_MAX = 16
_DRAIN_S = 2.0
_MTU = 1500
_FIRST_INDEX = 100


class WirelessKernel(MemoryKernel):
    """A node's namespace in which each ENI that `enis` tells of has its link."""

    def __init__(self) -> None:
        super().__init__()
        self.enis: Callable[[], Iterable[Eni]] = tuple
        self._numbers = count()

    def _hear_of(self, enis: Iterable[Eni]) -> None:
        """Plug in what is new."""
        known = {link.mac for link in super().links()}
        for eni in enis:
            if eni.mac not in known:
                number = next(self._numbers)
                self.plug_in(
                    Link(
                        name=f"eth{number}",
                        index=_FIRST_INDEX + number,
                        mac=eni.mac,
                        mtu=_MTU,
                        is_up=True,
                    )
                )

    def links(self) -> tuple[Link, ...]:
        self._hear_of(self.enis())
        return super().links()


class WirelessNode:
    """One node's agent, and the pods that a test starts on it."""

    def __init__(self, agent: Agent, node: NodeName) -> None:
        self.agent = agent
        self.node = node

    async def add(self, pod: str, deadline: datetime) -> Wired:
        """What the runtime's ADD asks, for a pod that nobody knows: `Immediate`."""
        no_netns = os.open(os.devnull, os.O_RDONLY)
        try:
            return await self.agent.service.add(
                Add(
                    key=AttachmentKey(NETWORK, pod, "eth0"),
                    pod=None,
                    pod_uid=None,
                    netns_fd=no_netns,
                    netns_path=f"/proc/0/{pod}",
                    mode=None,
                    is_pod_known=False,
                    deadline=deadline,
                )
            )
        finally:
            os.close(no_netns)

    async def registered(self, timeout_s: float) -> None:
        """Until an allocator has given this agent its incarnation."""
        while self.agent.registration.row is None:
            await self.agent.registration.changed.wait(timeout_s)


@asynccontextmanager
async def wireless_node(
    nats: Client, cluster: ClusterName, node: str, instance: str, folder: Path
) -> AsyncIterator[WirelessNode]:
    """An agent that runs until the block ends; its book lies in `folder`."""
    # A seed that is the node's own: agents that share one would draw the same MAC addresses.
    rng, clock = random.Random(zlib.crc32(node.encode())), SystemClock()
    settings = NodeAgentSettings(
        cluster=cluster,
        node=NodeName(node),
        instance=InstanceId(instance),
        pod_source=PodSourceKind.NONE,
        run_dir=folder / "run",
        state_dir=folder / "state",
    )
    kernel = WirelessKernel()
    async with AsyncExitStack() as stack:
        book = FileBook(run_dir=settings.run_dir, state_dir=settings.state_dir)
        stack.callback(book.close)
        agent = compose(
            World(
                bus=BusClient(nats, cluster=cluster, clock=clock, rng=rng),
                book=book,
                kernel=kernel,
                unlinking_kernel=kernel,
                exclusive_kernel=MemoryExclusiveKernel(),
                pods=NoPods(),
                clock=clock,
                rng=rng,
                readiness=Readiness(REGISTERED_CONDITION, STOCK_CONDITION),
            ),
            settings,
            Self(node=settings.node, instance=InstanceId(instance), version="1.0.0"),
        )
        kernel.enis = lambda: agent.ledger.node.enis
        loops = await stack.enter_async_context(Loops(rng))
        stack.push_async_callback(agent.fixed.aclose)
        agent.start(loops, settings)
        server = RequestServer(
            nats, cluster=cluster, clock=clock, in_flight_max=_ORDERS_IN_FLIGHT_MAX
        )

        async def drain() -> None:
            await server.drain(grace_s=_DRAIN_S)

        stack.push_async_callback(drain)
        await server.serve_node(
            settings.node,
            {
                STOCK_OFFER: agent.orders.offer,
                STOCK_RECALL: agent.orders.recall,
                AGENT_INVENTORY: agent.orders.inventory,
            },
        )
        yield WirelessNode(agent, settings.node)
