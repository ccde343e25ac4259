"""One simulated world: pods come and go under faults, and every promise is looked at.

P1  no two pods that live have one address, and it works where its pod is
P2  a fixed identity's address stays, unless its lease may have expired
P3  in the end each address has one owner, and the cloud has it where its owner thinks
P4  what was answered is in the journal
and  no request without an answer in its time, no bug, and in the end every pod runs
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Final

from services.allocator.adapters.memory_books import Books
from services.allocator.domain.retention import Presence, WorkloadSight
from services.node_agent.domain.ports import KnownPod
from services.node_agent.domain.requests import Add, Wired
from shared.addresses import AddressState
from shared.annotations import DeletePolicy, NetworkMode, PodNetwork
from shared.errors import BerthError, PodUnknown
from shared.ids import AttachmentKey, Identity, NodeName, PodName, PodUid, WorkloadName
from shared.runtime.pulse import Pulse

from .books import JournalServer, StoreServer
from .cloud import Cloud
from .network import Network, Weather
from .services import Machine, Surroundings, names, run_agent, run_allocator
from .virtual import Process, VirtualClock, VirtualLoop

NETWORK: Final = "berth"
_ADD_S: Final = 10.0
_ADD_LATE_S: Final = 0.5  # beyond its deadline an ADD is not answered in its time
_QUIET_S: Final = 120.0
_SETTLED_S: Final = 40.0
_AT_ONE_PLACE: Final = (AddressState.BOUND_FIXED, AddressState.RETAINED)
_EXPIRY: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the world is, and how troubled."""

    nodes: int = 3
    allocators: int = 2
    fixed_pods: int = 3
    other_pods: int = 3
    addresses: int = 60  # enough: what a node has it keeps
    faults: int = 8
    troubled_s: float = 60.0
    stays_away: float = 0.0  # chance that a fixed pod is away for longer than it is kept


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one seed."""

    seed: int
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    adds: int = 0
    refusals: int = 0
    faults: int = 0
    moves: int = 0

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Live:
    """A sandbox that its pod runs in."""

    pod: PodName
    key: AttachmentKey
    address: IPv4Address
    node: NodeName
    is_wanted: bool = True  # False: deleted by force, and may be fenced off by the cloud


class _Objects:
    """The API server: PodSource of agents and Workloads of allocators."""

    def __init__(self) -> None:
        self.pods: dict[PodName, KnownPod] = {}

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        pod = self.pods.get(name)
        if pod is None or (uid is not None and pod.uid != uid):
            raise PodUnknown(f"pod {name} is not known")
        return pod

    async def named(self, pods: Collection[PodName]) -> Mapping[PodName, Presence]:
        return {pod: Presence.PRESENT if pod in self.pods else Presence.ABSENT for pod in pods}

    async def objects(self, pod: PodName, uid: PodUid) -> Presence:
        there = self.pods.get(pod)
        return Presence.PRESENT if there and there.uid == uid else Presence.ABSENT

    async def workloads(
        self, names: Collection[WorkloadName]
    ) -> Mapping[WorkloadName, WorkloadSight]:
        return {each: WorkloadSight(presence=Presence.UNKNOWN) for each in names}


class SimulatedWorld:
    """Everything of one seed."""

    def __init__(self, seed: int, shape: Shape, loop: VirtualLoop, no_netns: int) -> None:
        self.outcome = Outcome(seed=seed)
        self._shape = shape
        self._loop = loop
        self._rng = random.Random(seed)
        self._clock = VirtualClock(loop)
        self._objects = _Objects()
        self._around = Surroundings(
            loop=loop,
            network=Network(self._rng),
            store=StoreServer(self._clock.now),
            journal=JournalServer(),
            clock=self._clock,
            rng=self._rng,
            workloads=self._objects,
        )
        self._machines = {name: Machine(name) for name in names(shape.nodes)}
        self._allocators: dict[str, Process] = {}
        self._live: dict[AttachmentKey, _Live] = {}
        self._addresses: dict[PodName, IPv4Address] = {}  # of fixed identities
        self._went_s: dict[PodName, float] = {}
        self._snapshot: Books | None = None
        self._no_netns = no_netns
        self._is_troubled = True
        self._quiet = Pulse()
        self._later: list[asyncio.Future[None]] = []
        self._up: set[PodName] = set()
        cloud = self._around.process("cloud")
        self._cloud_process = cloud
        self._cloud = Cloud(
            list(self._machines),
            shape.addresses,
            self._around.store,
            self._around.client(cloud),
            self._clock,
            self._rng,
            self._moved,
        )

    async def run(self) -> Outcome:
        """Trouble, then quiet, then a look at all books."""
        self._calm()
        await self._cloud.serve(self._around.server(self._cloud_process))
        for number in range(self._shape.allocators):
            self._start_allocator(f"allocator-{number}")
        for machine in self._machines.values():
            self._start_agent(machine)
        pods = [
            asyncio.ensure_future(self._live_and_die(PodName("shop", name), spans))
            for name, spans in self._pods()
        ]
        await self._trouble()
        self._is_troubled = False
        self._quiet.give()
        await self._heal()
        try:
            async with asyncio.timeout(_QUIET_S):
                await asyncio.gather(*pods, *self._later)
        except TimeoutError:
            late = {name for name, _ in self._pods()} - {pod.name for pod in self._up}
            self._violated(f"not served {_QUIET_S:g} s after the last fault: {sorted(late)}")
        await asyncio.sleep(_SETTLED_S)
        self._look_at_books()
        self.outcome.moves = self._cloud.moves
        for bug in self._loop.bugs:
            self._violated(f"bug: {bug.get('message')}: {bug.get('exception')!r}")
        return self.outcome

    # pods

    def _pods(self) -> list[tuple[str, bool]]:
        fixed = [(f"web-{number}", True) for number in range(self._shape.fixed_pods)]
        return fixed + [(f"job-{n}", False) for n in range(self._shape.other_pods)]

    async def _live_and_die(self, name: PodName, is_fixed: bool) -> None:
        number = 0
        while True:
            await asyncio.sleep(self._rng.uniform(0.1, 2.0))
            machine = self._rng.choice(list(self._machines.values()))
            number += 1
            self._objects.pods[name] = pod = _pod(name, number, is_fixed)
            live = await self._start_pod(pod, machine)
            if live is None:
                del self._objects.pods[name]
                continue
            while live is not None and self._is_troubled and self._rng.random() < 0.2:
                live = await self._restart_sandbox(pod, machine, live)
            if live is None:
                del self._objects.pods[name]
                continue
            await asyncio.sleep(self._rng.uniform(0.5, 15.0) if self._is_troubled else 0.0)
            if not self._is_troubled:
                self._up.add(name)
                return
            if self._rng.random() < 0.15:
                self._force_delete(name, machine, live)
                continue
            self._ended(live)
            if self._rng.random() < 0.5:  # its object may go before its sandbox, or after it
                del self._objects.pods[name]
                await self._delete(machine, live.key)
            else:
                await self._delete(machine, live.key)
                del self._objects.pods[name]
            if is_fixed and self._rng.random() < self._shape.stays_away:
                await self._quiet.wait(_EXPIRY.total_seconds() * 1.2)

    def _force_delete(self, name: PodName, machine: Machine, live: _Live) -> None:
        """The object goes at once; what ran goes on until somebody hears of it."""
        self._tell(f"{live.key.container_id} is deleted by force")
        del self._objects.pods[name]
        self._live[live.key] = replace(live, is_wanted=False)
        self._went_s[name] = self._loop.time()

        async def end() -> None:
            await asyncio.sleep(self._rng.uniform(0.0, 15.0))
            self._live.pop(live.key)
            await self._delete(machine, live.key)

        self._later.append(asyncio.ensure_future(end()))

    async def _restart_sandbox(
        self, pod: KnownPod, machine: Machine, old: _Live
    ) -> _Live | None:
        """kubelet makes the sandbox anew: the old one may be deleted after the new is there."""
        await asyncio.sleep(self._rng.uniform(0.0, 3.0))
        self._ended(old)
        if self._rng.random() < 0.5:
            await self._delete(machine, old.key)
            return await self._start_pod(pod, machine)
        new = await self._start_pod(pod, machine)
        await self._delete(machine, old.key)
        return new

    async def _start_pod(self, pod: KnownPod, machine: Machine) -> _Live | None:
        """None: the pod was deleted before it ran."""
        while True:
            self.outcome.adds += 1
            sandbox = f"{pod.uid}-{self.outcome.adds}"
            key = AttachmentKey(NETWORK, sandbox, "eth0")
            began_s = self._loop.time()
            wired = await self._add(pod, machine, key)
            if self._loop.time() - began_s > _ADD_S + _ADD_LATE_S:
                self._violated(f"an ADD of {pod.name} took {self._loop.time() - began_s:.1f} s")
            if wired is not None:
                return self._started(pod, machine, key, wired)
            self.outcome.refusals += 1
            if self._is_troubled and self._rng.random() < 0.2:
                self._tell(f"{key.container_id} is given up")
                self._later.append(asyncio.ensure_future(self._delete(machine, key)))
                return None
            await self._delete(machine, key)
            await asyncio.sleep(self._rng.uniform(0.3, 2.0))

    async def _add(self, pod: KnownPod, machine: Machine, key: AttachmentKey) -> Wired | None:
        agent, process = machine.agent, machine.process
        if agent is None or process is None or not process.is_alive:
            return None
        deadline = self._clock.now() + timedelta(seconds=_ADD_S)
        call: asyncio.Task[Wired] = process.start(
            agent.service.add(
                Add(
                    key=key,
                    pod=pod.name,
                    pod_uid=pod.uid,
                    netns_fd=self._no_netns,
                    netns_path=os.devnull,  # it is there: every end is told by a DEL
                    mode=None,
                    is_pod_known=True,
                    deadline=deadline,
                )
            )
        )
        [done], _ = await asyncio.wait([call])
        if done.cancelled():
            self._tell(f"ADD {key.container_id} on {machine.name}: the agent died")
            return None
        error = done.exception()
        if error is None:
            return await call
        self._tell(f"ADD {key.container_id} on {machine.name}: {error}")
        if not isinstance(error, BerthError):
            self._violated(f"bug: ADD {key.container_id}: {error!r}")
        return None

    async def _delete(self, machine: Machine, key: AttachmentKey) -> None:
        """What finds no agent is spooled, and done before the next agent serves."""
        agent, process = machine.agent, machine.process
        if agent is not None and process is not None and process.is_alive:
            call = process.start(agent.service.delete(key))
            [done], _ = await asyncio.wait([call])
            if not done.cancelled() and done.exception() is None:
                return
            if not done.cancelled() and not isinstance(done.exception(), BerthError):
                self._violated(f"bug: DEL {key.container_id}: {done.exception()!r}")
        machine.spool.append(key)

    # promises

    def _started(
        self, pod: KnownPod, machine: Machine, key: AttachmentKey, wired: Wired
    ) -> _Live:
        live = _Live(pod=pod.name, key=key, address=wired.address, node=machine.name)
        self._tell(f"{key.container_id} on {machine.name} has {wired.address}")
        for other in self._live.values():
            if other.address == live.address and self._works(other):
                self._violated(
                    f"P1: {live.address} is {key.container_id}'s on {machine.name}, and"
                    f" {other.key.container_id}'s"
                )
        self._live[key] = live
        at = self._cloud.at.get(live.address)
        if at != machine.name:
            self._violated(f"P1: {live.address} works on {at}, its pod is on {machine.name}")
        if pod.network.policy is DeletePolicy.NEVER:
            self._check_fixed(pod, live.address)
        return live

    def _works(self, live: _Live) -> bool:
        """Whether a pod that was deleted by force can still be reached: the cloud may have
        taken its address elsewhere, or its node's agent its wire."""
        if live.is_wanted:
            return True
        agent = self._machines[live.node].agent
        is_wired = agent is None or agent.ledger.attachments.get(live.key) is not None
        return is_wired and self._cloud.at.get(live.address) == live.node

    def _check_fixed(self, pod: KnownPod, address: IPv4Address) -> None:
        known = self._addresses.get(pod.name)
        away_s = self._loop.time() - self._went_s.get(pod.name, self._loop.time())
        if known not in (None, address) and away_s < _EXPIRY.total_seconds():
            self._violated(f"P2: {pod.name} had {known}, and now {address}")
        self._addresses[pod.name] = address
        entry = self._around.journal.entries.get(_identity(pod.name))
        if entry is None or entry.is_tombstone or entry.lease.address != address:
            self._violated(f"P4: {address} of {pod.name} is answered and not journaled")

    def _moved(self, address: IPv4Address, node: NodeName) -> None:
        """The cloud brings an address to a node, and takes it from where it was."""
        for live in self._live.values():
            if live.address == address and live.is_wanted and live.node != node:
                self._violated(
                    f"P1: {address} moves to {node}, and {live.key.container_id} lives"
                    f" with it on {live.node}"
                )

    def _ended(self, live: _Live) -> None:
        """From here nothing runs in the sandbox."""
        del self._live[live.key]
        self._went_s[live.pod] = self._loop.time()

    def _look_at_books(self) -> None:
        leases = {each.address: each for each in self._around.store.books.fixed.values()}
        cloud = self._cloud
        held: dict[IPv4Address, list[NodeName]] = {}
        for machine in self._machines.values():
            if machine.agent is None:
                self._violated(f"P3: no agent on {machine.name} in the end")
                continue
            for holding in machine.agent.ledger.stock:
                if holding.state is not AddressState.BOUND_FIXED:
                    held.setdefault(holding.address, []).append(machine.name)
        for address, node in cloud.at.items():
            owners = [str(each) for each in held.get(address, [])]
            lease = leases.get(address)
            if lease is not None:
                owners.append(f"the lease of {lease.identity}")
            if lease is not None and lease.state in _AT_ONE_PLACE and lease.node != node:
                self._violated(f"P3: {address} is on {node}, its lease on {lease.node}")
            if (
                address in cloud.free
                or address in cloud.taken_back
                or (address in cloud.in_doubt and not owners)
            ):
                owners.append("the eni_manager")
            if len(owners) != 1:
                self._violated(f"P3: {address} on {node} is owned by {owners or 'nobody'}")
            elif lease is None and held.get(address, [node]) != [node]:
                self._violated(f"P3: {address} is on {node}, and stock of {owners}")

    # faults

    async def _trouble(self) -> None:
        pause_s = self._shape.troubled_s / (self._shape.faults + 1)
        for _ in range(self._shape.faults):
            await asyncio.sleep(self._rng.uniform(0.2, 2 * pause_s))
            if self._rng.random() < 0.5:
                self._snapshot = self._copied()
            self.outcome.faults += 1
            await self._fault()
        await asyncio.sleep(self._rng.uniform(0.0, pause_s))

    async def _fault(self) -> None:
        store = self._around.store
        kind = self._rng.choice(
            ["allocator", "agent", "agent", "restart", "empty", "older", "weather", "cut off"]
        )
        self._tell(f"fault: {kind}")
        match kind:
            case "allocator":
                await self._kill_allocator(self._rng.choice(sorted(self._allocators)))
            case "agent":
                await self._kill_agent(self._rng.choice(list(self._machines.values())))
            case "restart":
                store.restart()
            case "empty":
                store.empty()
            case "older" if self._snapshot is not None:
                store.go_back_to(self._snapshot)
            case "weather":
                self._around.network.weather = Weather(
                    loses=self._rng.uniform(0.0, 0.4),
                    doubles=self._rng.uniform(0.0, 0.5),
                    delays=self._rng.uniform(0.0, 0.5),
                )
                self._loop.call_later(self._rng.uniform(1, 12), self._calm)
            case "cut off":
                whom = self._rng.choice(["allocator-0", *map(str, self._machines)])
                cut_off = self._around.network.weather.cut_off
                cut_off.add(whom)
                self._loop.call_later(self._rng.uniform(1, 12), cut_off.discard, whom)

    def _copied(self) -> Books:
        older = StoreServer(self._clock.now)
        older.go_back_to(self._around.store.books)
        return older.books

    def _calm(self) -> None:
        """As good as it gets: in troubled times some messages are late or doubled."""
        bad = 0.05 if self._is_troubled else 0.0
        self._around.network.weather = Weather(doubles=bad, delays=bad)

    async def _kill_allocator(self, name: str) -> None:
        await self._allocators[name].kill()
        self._loop.call_later(self._rng.uniform(0.1, 6), self._start_allocator, name)

    async def _kill_agent(self, machine: Machine) -> None:
        if machine.process is not None and machine.process.is_alive:
            machine.agent = None
            await machine.process.kill()
            self._loop.call_later(self._rng.uniform(0.1, 6), self._start_agent, machine)

    def _start_allocator(self, name: str) -> None:
        if name in self._allocators and self._allocators[name].is_alive:
            return
        process = self._allocators[name] = self._around.process(name)
        process.start(run_allocator(self._around, process))

    def _start_agent(self, machine: Machine) -> None:
        if machine.process is not None and machine.process.is_alive:
            return
        machine.process = self._around.process(machine.name)
        machine.process.start(run_agent(self._around, machine.process, machine, self._objects))

    async def _heal(self) -> None:
        self._calm()
        for name in self._allocators:
            self._start_allocator(name)
        for machine in self._machines.values():
            self._start_agent(machine)

    def _tell(self, what: str) -> None:
        self.outcome.trace.append(f"{self._loop.time():9.3f} {what}")

    def _violated(self, what: str) -> None:
        self._tell(f"VIOLATION {what}")
        self.outcome.violations.append(what)


def _pod(name: PodName, number: int, is_fixed: bool) -> KnownPod:
    policy = DeletePolicy.NEVER if is_fixed else DeletePolicy.IMMEDIATE
    return KnownPod(
        name=name,
        uid=PodUid(f"{name.name}-uid-{number}"),
        network=PodNetwork(
            mode=NetworkMode.SHARED, policy=policy, expires_after=_EXPIRY if is_fixed else None
        ),
    )


def _identity(pod: PodName) -> Identity:
    return Identity(pod.namespace, pod.name, NETWORK)


class _Bugs(logging.Handler):
    """A bug that a supervisor caught is one all the same."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(logging.ERROR)
        self._outcome = outcome

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._outcome.violations.append(
                f"bug: {record.getMessage()}: {record.exc_info[1]!r}"
            )


def shape_of(seed: int) -> Shape:
    """Every tenth world lasts long enough for leases to expire."""
    if seed % 10:
        return Shape()
    return Shape(troubled_s=900.0, stays_away=0.3, faults=12)


def simulate(seed: int) -> Outcome:
    """One world from its beginning to its end. The same seed, the same trace."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    root = logging.getLogger()
    before = root.level
    no_netns = os.open(os.devnull, os.O_RDONLY)  # what sandboxes have in the place of one
    world = SimulatedWorld(seed, shape_of(seed), loop, no_netns)
    bugs = _Bugs(world.outcome)
    root.addHandler(bugs)
    root.setLevel(logging.ERROR)
    try:
        return loop.run_until_complete(world.run())
    finally:
        root.removeHandler(bugs)
        root.setLevel(before)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        asyncio.set_event_loop(None)
        loop.close()
        os.close(no_netns)
