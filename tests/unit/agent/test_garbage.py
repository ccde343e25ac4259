"""What was missed once is kept, what was missed for the whole grace time goes: by its DEL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.pods import FolderPods
from services.node_agent.composition import Agent
from services.node_agent.domain.ports import Link
from services.node_agent.domain.requests import Add
from services.node_agent.garbage import Garbage
from shared.errors import Unavailable
from shared.ids import PodName
from shared.messages.leases import LEASE_ACQUIRE, AcquireRequest
from shared.messages.nodes import NODE_REGISTER, Registered, RegisterRequest
from shared.runtime.loops import Loops
from tests.support.agent_world import (
    ENI_MAC,
    STOCK,
    Peers,
    key,
    make_agent,
    offer,
    soon,
    uid,
    write_pod,
)
from tests.support.memory_kernel import MemoryKernel

GRACE = timedelta(seconds=180)


class ListedSandboxes:
    """The runtime's answer, call by call; None: it does not answer."""

    def __init__(self) -> None:
        self.ids: set[str] | None = set()
        self.next: list[set[str]] = []

    async def sandboxes(self) -> frozenset[str]:
        if self.next:
            return frozenset(self.next.pop(0))
        if self.ids is None:
            raise Unavailable("the runtime restarts")
        return frozenset(self.ids)


class HeldClock:
    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return self.at.timestamp()


class World:
    def __init__(self, folder: Path, book: FileBook) -> None:
        kernel = MemoryKernel(Link(name="eth1", index=3, mac=ENI_MAC, mtu=1500, is_up=True))
        self.folder = folder
        self.peers = Peers()
        self.agent: Agent = make_agent(folder, bus=self.peers, book=book, kernel=kernel)
        self.runtime = ListedSandboxes()
        self.paths: set[str] = set()
        self.clock = HeldClock()
        self.garbage = self.collector(has_runtime=True)

    def collector(self, *, has_runtime: bool) -> Garbage:
        return Garbage(
            service=self.agent.service,
            ledger=self.agent.ledger,
            pods=FolderPods(self.folder / "pods"),
            runtime=self.runtime if has_runtime else None,
            clock=self.clock,
            grace=GRACE,
            exists=self.paths.__contains__,
        )

    async def wire(self, container: str, pod: PodName | None) -> None:
        path = f"/run/netns/{container}"
        self.paths.add(path)
        await self.agent.service.add(
            Add(
                key=key(container),
                pod=pod,
                pod_uid=uid("uid-1") if pod else None,
                netns_fd=0,
                netns_path=path,
                mode=None,
                is_pod_known=pod is not None,
                deadline=soon(),
            )
        )

    async def rounds(self, *after_s: float) -> None:
        for seconds in after_s:
            self.clock.at += timedelta(seconds=seconds)
            await self.garbage.round()

    @property
    def wired(self) -> set[str]:
        return {each.key.container_id for each in self.agent.ledger.attachments}


@pytest.fixture
async def world(tmp_path: Path) -> World:
    book = FileBook(run_dir=tmp_path / "run", state_dir=tmp_path / "state")
    world = World(tmp_path, book)
    await world.agent.orders.offer(offer(*STOCK))
    pod = write_pod(tmp_path, "web-0", "uid-1")
    await world.wire("live", None)
    await world.wire("pod", pod)
    world.runtime.ids = {"pod"}
    return world


async def test_what_the_runtime_lists_and_what_has_its_namespace_stays(world: World) -> None:
    await world.rounds(0, 200, 200)

    assert world.wired == {"live", "pod"}


async def test_a_pod_that_the_runtime_misses_goes_after_the_grace_time(world: World) -> None:
    world.runtime.ids = set()

    await world.rounds(0, 60, 60, 59)
    assert world.wired == {"live", "pod"}
    await world.rounds(1)

    assert world.wired == {"live"}
    assert world.agent.heartbeat.counts().cooling == 1


async def test_one_look_is_not_enough_however_long_ago_the_last_was(world: World) -> None:
    await world.rounds(0)
    world.runtime.ids = set()

    await world.rounds(100_000)

    assert world.wired == {"live", "pod"}


async def test_seen_once_in_between_the_grace_time_begins_anew(world: World) -> None:
    world.runtime.ids = set()
    await world.rounds(0, 170)
    world.runtime.ids = {"pod"}
    await world.rounds(5)
    world.runtime.ids = set()

    await world.rounds(5, 170)

    assert world.wired == {"live", "pod"}


async def test_a_runtime_that_was_away_begins_the_grace_time_anew(world: World) -> None:
    world.runtime.ids = set()
    await world.rounds(0, 170)
    world.runtime.ids = None
    with pytest.raises(Unavailable):
        await world.rounds(5)
    world.runtime.ids = set()

    await world.rounds(5, 170)

    assert world.wired == {"live", "pod"}


async def test_the_last_check_keeps_what_the_runtime_lists_after_all(world: World) -> None:
    world.runtime.ids = set()
    await world.rounds(0, 170)
    world.runtime.next = [set(), {"pod"}]

    await world.rounds(20)

    assert world.wired == {"live", "pod"}


async def test_without_a_runtime_a_lost_namespace_and_an_unknown_pod_make_garbage(
    world: World,
) -> None:
    world.garbage = world.collector(has_runtime=False)
    world.paths.clear()
    await world.rounds(0, 200)
    assert world.wired == {"pod"}, "its pod is still known: its runtime owes the DEL"

    (world.folder / "pods" / "shop_web-0.json").unlink()
    await world.rounds(200)

    assert world.wired == set()


@pytest.fixture
async def asking(world: World, tmp_path: Path) -> AsyncIterator[asyncio.Task[None]]:
    """An ADD of a pod under `Never` whose allocator never answers; its claim is in the book."""
    heard = asyncio.Event()

    async def register(request: RegisterRequest) -> Registered:
        return Registered(incarnation=1)

    async def acquire(request: AcquireRequest) -> None:
        heard.set()
        await asyncio.Event().wait()

    world.peers.handlers = {NODE_REGISTER.name: register, LEASE_ACQUIRE.name: acquire}
    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    async with Loops(random.Random(1)) as loops:
        loops.keep("register", world.agent.registration.run)
        adding = asyncio.create_task(world.wire("fixed", pod))
        async with asyncio.timeout(5):
            await heard.wait()
        yield adding
        adding.cancel()
        await asyncio.wait([adding])
    await world.agent.fixed.aclose()


async def test_an_add_under_way_is_no_garbage(world: World, asking: asyncio.Task[None]) -> None:
    await world.rounds(0, 200, 200)

    [claim] = world.agent.ledger.claims.values()
    assert not claim.is_abandoned


async def test_a_claim_whose_add_failed_and_whose_del_never_came_is_given_up(
    world: World, asking: asyncio.Task[None]
) -> None:
    asking.cancel()
    await asyncio.wait([asking])
    [claim] = world.agent.ledger.claims.values()
    assert not claim.is_abandoned

    await world.rounds(0, 200)

    [claim] = world.agent.ledger.claims.values()
    assert claim.is_abandoned
