"""The playground: everything of Berth on one machine, started in order and taken down whole.

Order: keys → bus → store → cloud → allocators → eni_manager → agents. Each is ready before the
next begins, and they stop in the opposite order, so that every service can drain. Whatever
goes wrong, and at any moment, what was started is stopped and the folder is removed.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from berth.enabling import EnableWords, enable_cluster
from berth.operator import open_operator, settings_of
from berth.playground import services
from berth.playground.clusters import WatchedStores, nats_cluster
from berth.playground.keys import CloudAccount, KeyRing, PlaygroundKeys, make_keys
from berth.playground.leftovers import end_left_children
from berth.playground.nats_server import nats_process
from berth.playground.nodes import InstanceDoors, check_paths, make_node, pod_folders
from berth.playground.ports import LOOPBACK, take_port
from berth.playground.processes import Process, ProcessSpec
from berth.playground.state import (
    LOCK_FILE,
    ChildState,
    NodeState,
    PlaygroundState,
    take_lock,
    write_state,
)
from berth.playground.topology import Topology, default_topology
from berth.playground.valkey_server import valkey_process
from berth.programs import base_environment
from shared.annotations import NetworkMode
from shared.bus.client import BusClient
from shared.errors import NotFound, Refused
from shared.ids import ClusterName
from shared.kernel.processes import started_at
from shared.store.permissions import StoreUser

ALLOCATORS: Final = 2
_CLUSTER: Final = ClusterName("default")
_ENABLE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOptions:
    """What a person may choose; port 0 takes a free one."""

    cluster: ClusterName = _CLUSTER
    nats_port: int = 0
    redis_port: int = 0
    cloud_port: int = 0
    cooling_s: float | None = None  # how long agents rest a released address; None: their own
    park_after_s: float | None = None  # how long an ENI stays where its pod went; None: default
    cloud_in_flight_max_s: float | None = None  # that a killed eni_manager's calls are feared
    api_server: services.ApiServerDoor | None = None  # none: pods are files in folders
    ha: bool = False  # bus and store are three servers each, and there are two eni_managers
    wireless: bool = False  # a cloud without a network: no node can run an agent


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressStep:
    """One thing that now works, and how long it took."""

    what: str
    detail: str
    seconds: float


Report = Callable[[ProgressStep], None]


def ignore(step: ProgressStep) -> None:
    """For callers that show no progress."""


class Playground:
    """A running playground. Made by `start`; its owner must call `stop`."""

    def __init__(self, run_dir: Path, topology: Topology, options: StartOptions) -> None:
        self._run_dir = run_dir
        self._topology = topology
        self._options = options
        self._processes: dict[str, Process] = {}
        self._stack = AsyncExitStack()
        self._rng = random.Random()
        self._state: PlaygroundState | None = None
        self._is_started = False
        self._lock: int | None = None

    @classmethod
    async def start(
        cls,
        *,
        run_dir: Path,
        topology: Topology | None = None,
        options: StartOptions | None = None,
        report: Report = ignore,
    ) -> Playground:
        """Start everything. Raises in one line, and then nothing of it is left."""
        playground = cls(run_dir, topology or default_topology(), options or StartOptions())
        if not playground._options.wireless:
            check_paths(run_dir, playground._topology.nodes)
        playground._take_folder()
        try:
            await playground._start(report)
        except BaseException:
            await _unhurried(playground.stop())
            raise
        return playground

    @property
    def _managers(self) -> tuple[str, ...]:
        return ("eni-manager", "eni-manager-2") if self._options.ha else ("eni-manager",)

    @property
    def state(self) -> PlaygroundState:
        assert self._state is not None, "the state is known once start() has returned"
        return self._state

    @property
    def processes(self) -> tuple[Process, ...]:
        return tuple(self._processes.values())

    def process(self, name: str) -> Process:
        try:
            return self._processes[name]
        except KeyError:
            known = ", ".join(self._processes)
            raise NotFound(f"process {name!r}: known: {known}") from None

    async def stop(self) -> None:
        """Take everything down, in the opposite order; may be called again."""
        self._is_started = False
        await self._stack.aclose()
        started = list(self._processes.values())
        groups = [
            [each for each in started if each.name.startswith(prefix)]
            for prefix in ("agent-", "eni-manager", "allocator-", "simulator", "valkey", "nats")
        ]
        for group in groups:
            await asyncio.gather(*(each.stop() for each in group))
        self._processes.clear()
        if self._lock is not None:
            shutil.rmtree(self._run_dir, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def _take_folder(self) -> None:
        try:
            self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            foreign = any(self._run_dir.iterdir()) and not (self._run_dir / LOCK_FILE).exists()
        except OSError as error:
            raise Refused(f"run_dir {self._run_dir}: cannot be used: {error}") from error
        if foreign:
            raise Refused(f"run_dir {self._run_dir}: not empty, and not a playground's folder")
        self._lock = take_lock(self._run_dir)
        end_left_children(self._run_dir)
        for entry in self._run_dir.iterdir():
            if entry.name != LOCK_FILE:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    async def _start(self, report: Report) -> None:
        (self._run_dir / "logs").mkdir(mode=0o700)
        began = time.monotonic()
        keys = make_keys(
            KeyRing(self._run_dir / "keys"),
            self._topology,
            allocators=ALLOCATORS,
            eni_managers=self._managers,
        )
        report(ProgressStep(what="keys", detail=keys.summary(), seconds=_since(began)))

        around = await self._start_servers(keys, report)
        cloud_url, doors = await self._start_cloud(around, keys.account, report)
        await self._start_services(around, keys, cloud_url, report)
        nodes = tuple(make_node(self._run_dir, each, doors) for each in self._topology.nodes)
        self._state = self._describe(around, keys, cloud_url, nodes)
        bus = await self._stack.enter_async_context(open_operator(settings_of(self._state)))
        await self._enable(bus, report)
        if not self._options.wireless:
            await self._start_agents(around, keys, nodes, bus, report)
        self._is_started = True
        self._write_state()

    def _write_state(self) -> None:
        """Say where everything is, again after every restart of a child."""
        if self._is_started:
            self._state = self.state.model_copy(update={"children": self._children()})
            write_state(self._state)

    async def _start_servers(
        self, keys: PlaygroundKeys, report: Report
    ) -> services.Surroundings:
        options = self._options
        nats_port = take_port(options.nats_port, "--nats-port")
        redis_port = take_port(options.redis_port, "--redis-port")
        if options.ha:
            return await self._start_clusters(keys, report, nats_port, redis_port)
        logs = self._run_dir / "logs"
        bus = nats_process(
            self._run_dir / "nats",
            port=nats_port,
            users=[key.user for key in keys.bus.values()],
            cluster=options.cluster,
            log_file=logs / "nats.log",
            environment=base_environment(),
        )
        store = valkey_process(
            self._run_dir / "valkey",
            port=redis_port,
            passwords={user: each.password for user, each in keys.store.items()},
            cluster=options.cluster,
            log_file=logs / "valkey.log",
            environment=base_environment(),
        )
        await self._run("bus", f"NATS on {LOOPBACK}:{nats_port}", [bus], report)
        await self._run("store", f"Valkey on {LOOPBACK}:{redis_port}", [store], report)
        return services.Surroundings(
            run_dir=self._run_dir,
            cluster=options.cluster,
            nats_ports=(nats_port,),
            redis_port=redis_port,
            api_server=options.api_server,
        )

    async def _start_clusters(
        self, keys: PlaygroundKeys, report: Report, nats_port: int, redis_port: int
    ) -> services.Surroundings:
        """Three servers each; whoever loses one goes on with the others."""
        options, logs = self._options, self._run_dir / "logs"
        bus, nats_ports = nats_cluster(
            self._run_dir / "nats",
            first_port=nats_port,
            users=[key.user for key in keys.bus.values()],
            cluster=options.cluster,
            logs=logs,
            environment=base_environment(),
        )
        stores = WatchedStores(
            self._run_dir / "valkey",
            first_port=redis_port,
            keys=keys,
            cluster=options.cluster,
            logs=logs,
            environment=base_environment(),
        )
        names = ", ".join(str(port) for port in nats_ports)
        await self._run("bus", f"NATS of three on {LOOPBACK}, ports {names}", bus, report)
        await self._run(
            "store", f"Valkey of three, master on port {redis_port}", stores.stores(), report
        )
        watching = f"{len(stores.sentinel_ports)} watch over the store"
        await self._run("sentinels", watching, stores.sentinels(), report)
        return services.Surroundings(
            run_dir=self._run_dir,
            cluster=options.cluster,
            nats_ports=tuple(nats_ports),
            redis_port=redis_port,
            stores=stores,
            api_server=options.api_server,
        )

    async def _start_cloud(
        self, around: services.Surroundings, account: CloudAccount, report: Report
    ) -> tuple[str, InstanceDoors]:
        port = take_port(self._options.cloud_port, "--cloud-port")
        topology_file = self._run_dir / "topology.yaml"
        topology_file.write_text(self._topology.text, encoding="utf-8")
        doors = InstanceDoors(self._run_dir / "simulator.json")
        spec = services.simulator(
            around,
            port=port,
            topology_file=topology_file,
            account=account,
            ready_file=doors.ready_file,
            wireless=self._options.wireless,
        )
        detail = f"VPC API on {LOOPBACK}:{port}, {len(self._topology.nodes)} instances"
        await self._run("cloud", detail, [spec], report)
        return f"http://{LOOPBACK}:{port}", doors

    async def _start_services(
        self,
        around: services.Surroundings,
        keys: PlaygroundKeys,
        cloud_url: str,
        report: Report,
    ) -> None:
        allocators = [
            services.allocator(
                around,
                number=number,
                key=keys.bus[f"allocator-{number}"],
                password=keys.store[StoreUser.ALLOCATOR],
                park_after_s=self._options.park_after_s,
                pod_folders=pod_folders(self._run_dir),
            )
            for number in range(1, ALLOCATORS + 1)
        ]
        await self._run("allocators", f"{ALLOCATORS} replicas", allocators, report)
        managers = [
            services.eni_manager(
                around,
                name=name,
                key=keys.bus[name],
                password=keys.store[StoreUser.ENI_MANAGER],
                topology=self._topology,
                cloud_url=cloud_url,
                account=keys.account,
                cloud_in_flight_max_s=self._options.cloud_in_flight_max_s,
            )
            for name in self._managers
        ]
        replicas = "1 replica" if len(managers) == 1 else f"{len(managers)} replicas"
        await self._run("eni_manager", replicas, managers, report)

    async def _enable(self, bus: BusClient, report: Report) -> None:
        """As `berth enable` does: the topology names what a person would."""
        began = time.monotonic()
        words = EnableWords(
            modes=(NetworkMode.SHARED,),
            subnets=self._topology.pod_subnets,
            has_fixed_ips=True,
            pods_max=self._topology.pods_max,
        )
        await enable_cluster(
            bus, words, by="berth up", on_step=lambda _: None, follow_s=_ENABLE_S
        )
        subnets = ", ".join(self._topology.pod_subnets)
        detail = f"enabled, with pods' subnets {subnets}"
        report(ProgressStep(what="cluster", detail=detail, seconds=_since(began)))

    async def _start_agents(
        self,
        around: services.Surroundings,
        keys: PlaygroundKeys,
        nodes: tuple[NodeState, ...],
        bus: BusClient,
        report: Report,
    ) -> None:
        agents = [
            services.node_agent(
                around,
                node=node,
                key=keys.bus[f"agent-{node.name}"],
                bus=bus,
                cooling_s=self._options.cooling_s,
            )
            for node in nodes
        ]
        names = ", ".join(node.name for node in nodes)
        await self._run("node agents", names, agents, report)

    async def _run(
        self, what: str, detail: str, specs: list[ProcessSpec], report: Report
    ) -> None:
        """Start some children side by side; the first that fails is the answer."""
        began = time.monotonic()
        started = [Process(spec, self._rng, self._write_state) for spec in specs]
        self._processes |= {each.name: each for each in started}
        outcomes = await asyncio.gather(
            *(each.start() for each in started), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        report(ProgressStep(what=what, detail=detail, seconds=_since(began)))

    def _describe(
        self,
        around: services.Surroundings,
        keys: PlaygroundKeys,
        cloud_url: str,
        nodes: tuple[NodeState, ...],
    ) -> PlaygroundState:
        return PlaygroundState(
            run_dir=self._run_dir,
            cluster=around.cluster,
            supervisor_pid=os.getpid(),
            nats_url=around.nats_url,
            operator_key_file=keys.bus["operator"].seed_file,
            redis_url=around.store_url,
            cloud_url=cloud_url,
            cloud_region=self._topology.region,
            cloud_secret_file=keys.account.admin_file,
            nodes=nodes,
            children=self._children(),
        )

    def _children(self) -> tuple[ChildState, ...]:
        return tuple(
            ChildState(
                name=each.name,
                pid=each.pid,
                started=started_at(each.pid) or 0,
                log_file=each.log_file,
            )
            for each in self._processes.values()
            if each.pid is not None
        )


async def _unhurried(work: Coroutine[Any, Any, None]) -> None:
    """Clean-up that a second Ctrl-C does not cut short; each of its steps has a limit."""
    task = asyncio.create_task(work, name="clean up")
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)


def _since(began: float) -> float:
    return time.monotonic() - began
