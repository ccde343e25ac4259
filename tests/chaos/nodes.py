"""Wireless nodes that can die: production's agents with a kernel in memory.

The kernel, the book's files and the pods outlive an agent that is killed, as they do on a
machine. A dead agent's code may still run its clean-up; book and kernel no longer obey it.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, cast

from berth.manifests.pods import PodSpec, file_name, pod_json
from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.late_bus import LateBus
from services.node_agent.adapters.pods import FolderPods
from services.node_agent.composition import Agent, World, compose
from services.node_agent.config import NodeAgentSettings
from services.node_agent.domain.ports import Book, Kernel
from services.node_agent.domain.requests import Add, Check
from services.node_agent.domain.wiring import Route, Rule
from services.node_agent.heartbeat import REGISTERED_CONDITION, STOCK_CONDITION
from services.node_agent.main import Connected
from services.node_agent.registration import Self
from shared.annotations import DELETE_POLICY, DeletePolicy, PodNetwork
from shared.bus.connection import BUS_CONDITION
from shared.clock import SystemClock
from shared.errors import NotFound, Unavailable
from shared.ids import AttachmentKey, ClusterName, InstanceId, NodeName, PodName, PodUid
from shared.runtime.loops import Loops
from shared.telemetry.health import Readiness
from tests.chaos.relays import Link
from tests.support.memory_kernel import MemoryExclusiveKernel
from tests.support.wireless_nodes import NETWORK, WirelessKernel

COOLING_S: Final = 1.5
_CLOSE_S: Final = 3.0


class Killed(RuntimeError):
    """Raised into the code of an agent that is dead."""


class Life:
    """One life of an agent: what it holds ends to obey when it is over."""

    def __init__(self) -> None:
        self.is_over = False
        self.writes_left: int | None = None  # of its book, until it dies by itself
        self.disk_is_full = False
        self.writes_refused = 0
        self.ended = asyncio.Event()

    def end(self) -> None:
        self.is_over = True
        self.ended.set()


class Mortal:
    """A port that obeys as long as the life lasts."""

    def __init__(self, inner: object, life: Life, *, is_book: bool) -> None:
        self._inner = inner
        self._life = life
        self._is_book = is_book

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._inner, name)

        def call(*given: Any, **named: Any) -> Any:
            self._check(name)
            return method(*given, **named)

        return call

    def _check(self, name: str) -> None:
        life = self._life
        if life.is_over:
            raise Killed(f"{name}: the process is dead")
        if not self._is_book or name == "load":
            return
        if life.disk_is_full and name.startswith("save"):
            life.writes_refused += 1
            raise Unavailable("book: no space left on device")
        if life.writes_left is not None:
            life.writes_left -= 1
            if life.writes_left < 0:
                life.end()
                raise Killed(f"{name}: killed before this write")


class ChaosNode:
    """A node with its kernel, its folders, its link to the bus, and an agent now and then."""

    def __init__(
        self,
        cluster: ClusterName,
        name: str,
        instance: str,
        folder: Path,
        nats_port: int,
        other_urls: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.instance = instance
        self.is_gone = False  # its instance was terminated
        self.is_held_down = False  # a nemesis keeps it from being started again
        self.kernel = WirelessKernel()
        self.link: Link | None = None
        self.deaths = 0
        self._cluster = cluster
        self._folder = folder
        self._nats_port = nats_port
        self._other_urls = other_urls  # of the bus' other servers
        self._agent: Agent | None = None
        self._life = Life()
        self._stack: AsyncExitStack | None = None
        self._changing = asyncio.Lock()  # held while a life begins or ends
        self._spool: list[AttachmentKey] = []
        self._watch: asyncio.Task[None] | None = None
        self.pods = folder / "pods"
        self.sandboxes = folder / "netns"
        for each in (self.pods, self.sandboxes):
            each.mkdir(parents=True)

    @property
    def agent(self) -> Agent:
        """Raises Unavailable as the plugin does whose agent is away."""
        if self._agent is None or self._life.is_over:
            raise Unavailable(f"the agent of {self.name} is away")
        return self._agent

    @property
    def is_up(self) -> bool:
        return self._agent is not None and not self._life.is_over

    async def start(self) -> None:
        """The next life; what its forerunner left is settled before pods are served. A machine
        that is gone has none."""
        async with self._changing:
            if not self.is_gone:
                await self._begin()

    async def _begin(self) -> None:
        assert self._stack is None, "the last life was not cleared away"
        link = self.link = await Link.start(self._nats_port)
        life = self._life = Life()
        rng, clock = random.Random(zlib.crc32(self.name.encode()) + self.deaths), SystemClock()
        settings = NodeAgentSettings(
            cluster=self._cluster,
            node=NodeName(self.name),
            instance=InstanceId(self.instance),
            nats_url=",".join((link.url("nats"), *self._other_urls)),
            pod_folder=self.pods,
            run_dir=self._folder / "run",
            state_dir=self._folder / "state",
            cooling_s=COOLING_S,
            cooling_least_s=COOLING_S / 2,
            rest_interval_s=0.2,
            report_interval_s=0.5,
            want_interval_s=0.5,
            drain_grace_s=0.5,
        )
        self._stack = stack = AsyncExitStack()
        stack.push_async_callback(link.aclose)
        files = FileBook(run_dir=settings.run_dir, state_dir=settings.state_dir)
        stack.callback(files.close)
        readiness = Readiness(BUS_CONDITION, REGISTERED_CONDITION, STOCK_CONDITION)
        bus = LateBus(
            settings, client_name=self.name, readiness=readiness, clock=clock, rng=rng
        )
        stack.push_async_callback(bus.aclose)
        kernel = cast(Kernel, Mortal(self.kernel, life, is_book=False))
        agent = compose(
            World(
                bus=bus,
                book=cast(Book, Mortal(files, life, is_book=True)),
                kernel=kernel,
                unlinking_kernel=kernel,
                exclusive_kernel=MemoryExclusiveKernel(),
                pods=FolderPods(self.pods),
                clock=clock,
                rng=rng,
                readiness=readiness,
            ),
            settings,
            Self(node=settings.node, instance=InstanceId(self.instance), version="1.0.0"),
        )
        self.kernel.enis = lambda: agent.ledger.node.enis
        loops = await stack.enter_async_context(Loops(rng))
        stack.push_async_callback(agent.fixed.aclose)
        agent.start(loops, settings)
        orders = Connected(agent, settings)
        stack.push_async_callback(orders.drain)

        async def connect() -> None:
            await bus.keep_trying()
            assert bus.nats is not None, "tried until it was there"
            await orders.listen(bus.nats)
            await asyncio.Event().wait()  # a loop lives as long as the agent

        loops.keep("connect", connect)
        loops.every("repair", self._repair_of(agent), interval_s=1.0)
        while self._spool:
            await agent.service.delete(self._spool[0])
            self._spool.pop(0)
        self._agent = agent

    def _repair_of(self, agent: Agent) -> Callable[[], Any]:
        async def repair() -> None:
            agent.repairer.round()

        return repair

    async def kill(self) -> None:
        """As kill -9: nothing more leaves it, and nothing more is written."""
        self._life.end()
        async with self._changing:
            self._life.end()  # of one that was about to begin
            await self._clear_away()

    def kill_at_write(self, number: int) -> Life:
        """It dies just before the book's write of that number, counted from now."""
        self._life.writes_left = number
        return self._life

    def fill_disk(self, *, is_full: bool) -> Life:
        self._life.disk_is_full = is_full
        return self._life

    async def restart(self) -> None:
        """After whatever death."""
        async with self._changing:
            self._life.end()
            await self._clear_away()
            if not self.is_gone:
                await self._begin()

    async def stop(self) -> None:
        """In order."""
        async with self._changing:
            await self._clear_away()

    async def _clear_away(self) -> None:
        stack, self._stack, self._agent = self._stack, None, None
        if stack is None:
            return
        if self._life.is_over:
            self.deaths += 1
            assert self.link is not None, "it had a life"
            await self.link.aclose()  # first of all: what it had not sent is lost
        with suppress(Killed, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await stack.aclose()

    # what the runtime asks

    def write_pod(self, pod: PodName, uid: str, expires_after: str | None = None) -> None:
        annotations = {DELETE_POLICY: str(DeletePolicy.NEVER)}
        spec = PodSpec(
            name=pod,
            uid=PodUid(uid),
            owner=None,
            labels={},
            annotations=annotations,
            network=PodNetwork(mode=None, policy=DeletePolicy.NEVER, expires_after=None),
            containers=(),
        )
        file = self.pods / file_name(pod)
        new = file.with_name(f".{file.name}")
        new.write_text(json.dumps(pod_json(spec, NodeName(self.name))))
        new.rename(file)

    def remove_pod(self, pod: PodName) -> None:
        (self.pods / file_name(pod)).unlink(missing_ok=True)

    def sandbox(self, sandbox: str) -> Path:
        """A path that lives as long as the sandbox does."""
        path = self.sandboxes / sandbox
        path.touch()
        return path

    async def add(
        self, sandbox: str, pod: PodName | None, uid: str | None, limit_s: float
    ) -> tuple[IPv4Address, int | None]:
        """Address and generation. Raises BerthError, or Killed when the agent died of it."""
        agent, key, netns = self.agent, key_of(sandbox), self.sandbox(sandbox)
        with netns.open("rb") as opened:
            wired = await agent.service.add(
                Add(
                    key=key,
                    pod=pod,
                    pod_uid=None if uid is None else PodUid(uid),
                    netns_fd=opened.fileno(),
                    netns_path=str(netns),
                    mode=None,
                    is_pod_known=pod is not None,
                    deadline=datetime.now(UTC) + timedelta(seconds=limit_s),
                )
            )
        attachment = agent.ledger.attachments.get(key)
        return wired.address, None if attachment is None else attachment.generation

    async def delete(self, sandbox: str) -> None:
        """With the agent away the plugin leaves it in the spool, and it has succeeded."""
        key = key_of(sandbox)
        (self.sandboxes / sandbox).unlink(missing_ok=True)
        try:
            await self.agent.service.delete(key)
        except (Unavailable, Killed):
            if self.is_up:
                raise
            self._spool.append(key)

    def life_ended(self) -> asyncio.Event:
        return self._life.ended

    async def wrong_wires(self) -> list[str]:
        """What of the pods' wires is missing in the kernel."""
        found = []
        for each in self.agent.ledger.attachments:
            try:
                await self.agent.service.check(
                    Check(key=each.key, netns_fd=-1, address=each.address)
                )
            except NotFound as wrong:
                found.append(f"{self.name}: {wrong}")
        return found

    def break_wire(self, rng: random.Random) -> bool:
        """Take a route or rule of a pod away behind the agent's back."""
        things: list[Route | Rule] = [*self.kernel.routes, *self.kernel.rules]
        things.sort(key=repr)
        if not things:
            return False
        self.kernel.remove(rng.choice(things))
        return True


def key_of(sandbox: str) -> AttachmentKey:
    return AttachmentKey(NETWORK, sandbox, "eth0")


@asynccontextmanager
async def stopped_at_end(node: ChaosNode) -> AsyncIterator[ChaosNode]:
    try:
        yield node
    finally:
        await node.stop()
