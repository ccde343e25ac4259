"""An agent inside a node's namespace, with two ENIs and a router beyond them."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.exclusive_netlink import ExclusiveNetlink
from services.node_agent.adapters.netlink import NetlinkKernel
from services.node_agent.composition import Agent
from services.node_agent.domain.requests import Add, Wired
from shared.ids import PodName, PodUid
from shared.kernel.netns import in_netns
from shared.runtime.loops import Loops
from tests.support.agent_world import (
    STOCK,
    Peers,
    build_node,
    key,
    make_agent,
    offer,
    settings,
    soon,
)


@dataclass
class NodeWorld:
    """One node: its agent, its namespaces."""

    agent: Agent
    node: int
    vpc: int
    make_netns: Callable[[], int]

    async def add(
        self, container: str, pod: PodName | None = None, uid: str | None = None
    ) -> tuple[Wired, int]:
        """A sandbox of its own, wired."""
        netns = self.make_netns()
        return await self.wire(container, netns, pod, uid), netns

    async def wire(
        self,
        container: str,
        netns: int,
        pod: PodName | None = None,
        uid: str | None = None,
        path: str | None = None,
    ) -> Wired:
        return await self.agent.service.add(
            Add(
                key=key(container),
                pod=pod,
                pod_uid=None if uid is None else PodUid(uid),
                netns_fd=netns,
                netns_path=path or f"/proc/self/fd/{netns}",
                mode=None,
                is_pod_known=uid is not None,
                deadline=soon(),
            )
        )


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.fixture
def inside(make_netns: Callable[[], int]) -> Iterator[tuple[int, int]]:
    """The whole test runs in the node's namespace, as an agent does."""
    node, vpc = make_netns(), make_netns()
    build_node(node, vpc)
    with in_netns(node):
        yield node, vpc


class Boot(Protocol):
    def __call__(self, **changes: Any) -> Awaitable[NodeWorld]: ...


@pytest.fixture
async def boot(
    tmp_path: Path, peers: Peers, inside: tuple[int, int], make_netns: Callable[[], int]
) -> AsyncIterator[Boot]:
    """Start an agent; another call is a restart after kill -9: nothing was said goodbye."""
    seeds = itertools.count()
    running: list[tuple[FileBook, list[NetlinkKernel | ExclusiveNetlink], Loops]] = []

    async def stop() -> None:
        while running:
            book, kernels, loops = running.pop()
            await loops.stop()
            book.close()
            for kernel in kernels:
                kernel.close()

    async def start(**changes: Any) -> NodeWorld:
        await stop()
        # Each life chooses indexes of its own: links of the last one are still there.
        kernels = [NetlinkKernel(random.Random(next(seeds))) for _ in range(2)]
        exclusive_kernel = ExclusiveNetlink()
        book = FileBook(run_dir=tmp_path / "run", state_dir=tmp_path / "state")
        loops = Loops(random.Random(1))
        running.append((book, [*kernels, exclusive_kernel], loops))
        agent = make_agent(
            tmp_path,
            bus=peers,
            book=book,
            kernel=kernels[0],
            unlinking_kernel=kernels[1],
            exclusive_kernel=exclusive_kernel,
            **changes,
        )
        agent.start(loops, settings(tmp_path, **changes))
        return NodeWorld(agent=agent, node=inside[0], vpc=inside[1], make_netns=make_netns)

    yield start
    await stop()


@pytest.fixture
async def world(boot: Boot) -> NodeWorld:
    """An agent that has stock."""
    started = await boot()
    await started.agent.orders.offer(offer(*STOCK))
    return started
