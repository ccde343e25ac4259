"""A node with a shared ENI and two whole ones, in a simulated VPC of real packets."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Protocol

import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.exclusive_netlink import ExclusiveNetlink
from services.node_agent.adapters.netlink import NetlinkKernel
from services.node_agent.composition import Agent
from services.node_agent.domain.requests import Add, Wired
from services.vpc_simulator.ports import EniPort
from shared.annotations import NetworkMode
from shared.ids import EniId
from shared.kernel.netns import in_netns, new_netns, pin, unpin
from shared.messages.nodes import OfferAccepted, OfferedAddress, StockOffer
from shared.runtime.loops import Loops
from tests.support.agent_world import NODE, Peers, key, make_agent, settings, soon
from tests.support.probes import ping
from tests.support.vpcs import Vpc, eni, fields_of, with_addresses

SHARED = IPv4Address("10.0.1.50")
OTHER_SHARED = IPv4Address("10.0.1.51")
SERVICES = IPv4Network("172.16.0.0/16")
_PINGS = 5
OUTSIDE = IPv4Address("198.51.100.1")


@dataclass
class Sandbox:
    """A namespace that has a path, as a runtime's has."""

    container: str
    netns: int
    path: Path

    def end(self) -> None:
        """As a runtime does: the kernel frees what was inside."""
        unpin(self.path)
        os.close(self.netns)
        self.netns = -1


@dataclass
class ExclusiveWorld:
    """Node ins-1 with its agent; ins-2 and ins-3 are other machines of the VPC."""

    agent: Agent
    vpc: Vpc
    shared: EniPort
    whole: tuple[EniPort, EniPort]
    new_sandbox: Callable[[str], Sandbox]
    orders: int = field(default=0)

    @property
    def node(self) -> int:
        return self.vpc.netns("ins-1")

    @property
    def node_address(self) -> IPv4Address:
        return eni(1, "ins-1", 0).primary_address

    async def offer(self, *whole: EniPort) -> OfferAccepted:
        """The shared ENI with its addresses, and the whole ENIs with their primary ones."""
        self.orders += 1
        return await self.agent.orders.offer(
            StockOffer(
                deadline=soon(),
                node=NODE,
                term=1,
                sequence=self.orders,
                enis=[
                    fields_of(eni(1, "ins-1", 0)),
                    fields_of(self.shared),
                    *(fields_of(each, is_exclusive=True) for each in whole),
                ],
                addresses=[
                    *(
                        OfferedAddress(address=address, eni=self.shared.eni)
                        for address in (SHARED, OTHER_SHARED)
                    ),
                    *(OfferedAddress(address=it.primary_address, eni=it.eni) for it in whole),
                ],
            )
        )

    async def add(self, sandbox: Sandbox, mode: NetworkMode, *, wait_s: float = 5.0) -> Wired:
        return await self.agent.service.add(
            Add(
                key=key(sandbox.container),
                pod=None,
                pod_uid=None,
                netns_fd=sandbox.netns,
                netns_path=str(sandbox.path),
                mode=mode,
                is_pod_known=False,
                deadline=soon(wait_s),
            )
        )

    async def exclusive(self, container: str) -> tuple[Wired, Sandbox]:
        """Wired, and reached by the VPC: its end of a link that has just come up may drop the
        first packets, which is no matter of the agent's."""
        sandbox = self.new_sandbox(container)
        wired = await self.add(sandbox, NetworkMode.EXCLUSIVE)
        assert any(ping(sandbox.netns, wired.gateway) is not None for _ in range(_PINGS))
        return wired, sandbox

    async def sharing(self, container: str) -> tuple[Wired, Sandbox]:
        sandbox = self.new_sandbox(container)
        return await self.add(sandbox, NetworkMode.SHARED), sandbox

    def port_of(self, address: IPv4Address) -> EniPort:
        return next(each for each in self.whole if each.primary_address == address)

    def eni_ids(self) -> set[EniId]:
        return {each.eni for each in self.whole}


@pytest.fixture
def new_sandbox(
    tmp_path: Path,
) -> Iterator[Callable[[str], Sandbox]]:
    made: list[Sandbox] = []

    def make(container: str) -> Sandbox:
        netns, path = new_netns(), tmp_path / "sandboxes" / container
        pin(netns, path)
        made.append(Sandbox(container, netns, path))
        return made[-1]

    try:
        yield make
    finally:
        for sandbox in made:
            if sandbox.netns >= 0:
                sandbox.end()


class Boot(Protocol):
    def __call__(self, **changes: Any) -> Awaitable[ExclusiveWorld]: ...


@pytest.fixture
async def boot(
    tmp_path: Path, vpc: Vpc, new_sandbox: Callable[[str], Sandbox]
) -> AsyncIterator[Boot]:
    """Start an agent on ins-1; another call is a restart after kill -9."""
    shared = with_addresses(eni(4, "ins-1", 1), SHARED, OTHER_SHARED)
    whole = (eni(5, "ins-1", 2), eni(6, "ins-1", 3))
    for each in (shared, *whole):
        await vpc.fabric.set_eni(each)
    seeds = itertools.count()
    running: list[tuple[FileBook, list[NetlinkKernel | ExclusiveNetlink], Loops]] = []

    async def stop() -> None:
        while running:
            book, kernels, loops = running.pop()
            await loops.stop()
            book.close()
            for kernel in kernels:
                kernel.close()

    async def start(**changes: Any) -> ExclusiveWorld:
        await stop()
        # Each life chooses indexes of its own: links of the last one are still there.
        kernels = [NetlinkKernel(random.Random(next(seeds))) for _ in range(2)]
        exclusive_kernel = ExclusiveNetlink()
        book = FileBook(run_dir=tmp_path / "run", state_dir=tmp_path / "state")
        loops = Loops(random.Random(1))
        running.append((book, [*kernels, exclusive_kernel], loops))
        chosen: dict[str, Any] = {"service_cidrs": (SERVICES,)} | changes
        agent = make_agent(
            tmp_path,
            bus=Peers(),
            book=book,
            kernel=kernels[0],
            unlinking_kernel=kernels[1],
            exclusive_kernel=exclusive_kernel,
            **chosen,
        )
        agent.start(loops, settings(tmp_path, **chosen))
        return ExclusiveWorld(
            agent=agent, vpc=vpc, shared=shared, whole=whole, new_sandbox=new_sandbox
        )

    with in_netns(vpc.netns("ins-1")):
        yield start
        await stop()


@pytest.fixture
async def world(boot: Boot) -> ExclusiveWorld:
    """An agent that owns a shared ENI's addresses and both whole ENIs."""
    started = await boot()
    await started.offer(*started.whole)
    return started
