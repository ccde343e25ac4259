"""Everything of Berth on one machine, with a relay on every connection that may fail.

NATS, Valkey and the services are processes; the cloud and the nodes' agents run here. Whatever
ends by itself is started again, as a cluster does, unless a nemesis holds it down.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client
from redis.asyncio import Redis

from berth.enabling import EnableWords, enable_cluster
from berth.programs import python_module
from services.vpc_simulator.model.failures import Code
from shared.annotations import NetworkMode
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.errors import BerthError
from shared.ids import ClusterName, SubnetId
from shared.messages.departures import NODE_GONE, NodeGoneRequest
from shared.store.permissions import StoreUser
from tests.chaos.history import History, Operation, Outcome, Verb
from tests.chaos.nodes import ChaosNode, stopped_at_end
from tests.chaos.parts import DISK_BYTES, Parts, clusters_of_three, one_of_each
from tests.chaos.processes import Service
from tests.chaos.relays import Link
from tests.support.servers import NatsServer, RedisServer, Server
from tests.support.simulated_cloud import (
    REGION,
    SECRET_ID,
    SECRET_KEY,
    SimulatedCloud,
    simulated_cloud,
)
from tests.support.wall_clocks import WallClock, clear_away

CLUSTER: Final = ClusterName("chaos")
SUBNET: Final = "subnet-pods"
STORE: Final = "redis"  # its clock's name
NODES: Final = 4
SPARES: Final = 40  # instances that no agent runs on until a node joins
_READY_S: Final = 60.0
_LOOK_S: Final = 0.2
_GONE_AGAIN_S: Final = 1.0
_REPLICAS: Final = 2
_TASKS_KEPT: Final = 500  # far more than are asked for at once: a soak would see them grow


def topology(document: dict[str, object]) -> None:
    """Nodes in one zone, with a subnet of pods that none of their own addresses is in."""
    zone = "zone-1"
    document["subnets"] = [
        {"id": "subnet-nodes", "cidr": "10.0.1.0/24", "zone": zone},
        {"id": SUBNET, "cidr": "10.0.2.0/24", "zone": zone},
    ]
    document["instances"] = [
        {
            "id": f"ins-{n}",
            "node": f"node-{n}",
            "zone": zone,
            "subnet": "subnet-nodes",
            "quota": {"enis": 4, "addresses_per_eni": 10},
        }
        for n in range(NODES + SPARES)
    ]
    document["limits"] = {"tasks_kept_max": _TASKS_KEPT}
    document["latency"] = {
        "calls": {"default": {"median_ms": 2}},
        "effects": {"default": {"median_ms": 20}},
    }


class World:
    def __init__(
        self, folder: Path, parts: Parts, cloud: SimulatedCloud, client: Client, redis: Redis
    ) -> None:
        self.folder = folder
        self.parts = parts
        self.cloud = cloud
        self.nats = client
        self.redis = redis
        self.history = History()
        self.bus = BusClient(client, cluster=CLUSTER, clock=SystemClock(), rng=random.Random(1))
        self.services: dict[str, Service] = {}
        self.links: dict[tuple[str, str], Link] = {}  # (service, "nats" | "redis")
        self.nodes: dict[str, ChaosNode] = {}
        self.held_down: set[Server] = set()
        self._mending = asyncio.Lock()
        self._watchers: set[asyncio.Task[None]] = set()  # of nodes that are gone
        self.clocks: dict[str, WallClock] = {}  # by service, and of the store: if any steps
        self._stack = AsyncExitStack()
        self._stack.push_async_callback(self._stop_watching)

    # who is there

    def replicas(self, kind: str) -> list[Service]:
        return [each for name, each in self.services.items() if name.startswith(kind)]

    def up(self) -> list[ChaosNode]:
        """Nodes that pods may be put on, by name."""
        return [self.nodes[name] for name in sorted(self.nodes) if not self.nodes[name].is_gone]

    def servers(self) -> list[Server]:
        return list(self.parts.servers.values())

    @property
    def nats_server(self) -> NatsServer:
        """The only one, or the first of three."""
        return next(iter(self.parts.bus.values()))

    @property
    def redis_server(self) -> RedisServer:
        return next(iter(self.parts.store.values()))

    def spare(self) -> tuple[str, str] | None:
        """Name and instance of a node that never was one."""
        for n in range(NODES + SPARES):
            if f"node-{n}" not in self.nodes:
                return f"node-{n}", f"ins-{n}"
        return None

    async def join(self, name: str, instance: str) -> ChaosNode:
        first, *others = self.parts.bus.values()
        node = ChaosNode(
            CLUSTER,
            name,
            instance,
            self.folder / "nodes" / name,
            first.port,
            [each.url for each in others],
        )
        await self._stack.enter_async_context(stopped_at_end(node))
        await node.start()
        self.nodes[name] = node
        return node

    async def terminate(self, node: ChaosNode) -> None:
        """The instance is gone, and with it the agent; who watches the nodes says so soon."""
        began_s = time.monotonic()
        node.is_gone = True
        await node.kill()
        await self._terminate_instance(node.instance)
        self.history.add(
            Operation(
                verb=Verb.END,
                workload="",
                node=node.name,
                began_s=began_s,
                ended_s=time.monotonic(),
                outcome=Outcome.OK,
            )
        )
        for file in node.pods.iterdir():  # the Pod objects go soon after
            file.unlink()
        watcher = asyncio.create_task(self._say_gone(node.name), name=f"gone/{node.name}")
        self._watchers.add(watcher)

    async def _terminate_instance(self, instance: str) -> None:
        """Once the cloud has ended what is under way on its ENIs."""
        async with asyncio.timeout(_READY_S):
            while True:
                path = f"instances/{instance}/terminate"
                status, told = await self.cloud.admin("POST", path)
                if status == 200:
                    return
                assert Code.MUTEX in str(told), told
                await asyncio.sleep(_LOOK_S)

    async def _say_gone(self, node: str) -> None:
        """As a cluster does whose Node object was deleted: again, until it is heard."""
        while True:
            deadline = datetime.now(UTC) + timedelta(seconds=NODE_GONE.timeout_s)
            request = NodeGoneRequest(deadline=deadline, node=node, by="the chaos suite")
            try:
                await self.bus.call(NODE_GONE, request)
            except BerthError:
                await asyncio.sleep(_GONE_AGAIN_S)
            else:
                return

    async def _stop_watching(self) -> None:
        """Raises what a watcher failed with."""
        for each in self._watchers:
            each.cancel()
        for ended in await asyncio.gather(*self._watchers, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    # health

    async def heal(self) -> None:
        """Everything that a nemesis may have left broken is whole again."""
        for server in self.servers():
            self.held_down.discard(server)
            if server.is_running:
                server.thaw()
        for service in self.services.values():
            service.is_held_down = False
            service.thaw()
        for clock in self.clocks.values():
            clock.step(0.0)
        for link in (*self.links.values(), *self.parts.routes.values()):
            link.heal()
        for node in self.up():
            node.fill_disk(is_full=False)
            if node.is_up and node.link is not None:
                node.link.heal()
        await self.cloud.admin("DELETE", "faults")
        await self.mend()

    async def mend(self) -> None:
        """Start what has ended and is not held down."""
        async with self._mending:  # else a server is started twice
            for server in self.servers():
                if not server.is_running and server not in self.held_down:
                    await asyncio.to_thread(server.start)
        for service in self.services.values():
            if not service.is_running and not service.is_held_down:
                service.start()
        for node in self.up():
            if node.life_ended().is_set() and not node.is_held_down:
                await node.restart()

    async def keep_mending(self) -> None:
        while True:
            await self.mend()
            await asyncio.sleep(_LOOK_S)

    # beginning

    async def start_services(self, folder: Path, changes: Mapping[str, str]) -> None:
        for name, text in (("secret-id", SECRET_ID), ("secret-key", SECRET_KEY)):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text, encoding="ascii")
        for kind, module in (
            ("allocator", "services.allocator.main"),
            ("eni_manager", "services.eni_manager.main"),
        ):
            for number in range(1, _REPLICAS + 1):
                name = f"{kind}-{number}"
                settings = await self._settings(name, folder)
                settings |= self.parts.environment(StoreUser(kind))
                if self.clocks:
                    self.clocks[name] = WallClock(folder / f"{name}.clock")
                    settings |= self.clocks[name].environment
                service = Service(
                    name,
                    python_module(module),
                    settings | dict(changes),
                    folder / f"{name}.log",
                )
                self.services[name] = service
                self._stack.callback(service.kill)
                service.start()

    async def _settings(self, name: str, folder: Path) -> dict[str, str]:
        for what, server in (("nats", self.nats_server), ("redis", self.redis_server)):
            link = await Link.start(server.port)
            self._stack.push_async_callback(link.aclose)
            self.links[name, what] = link
        return {
            "BERTH_CLUSTER": CLUSTER,
            "BERTH_NATS_URL": self.links[name, "nats"].url("nats"),
            "BERTH_REDIS_URL": f"{self.links[name, 'redis'].url('redis')}/0",
            "BERTH_LOG_LEVEL": "INFO",
            "BERTH_REDIS_TIMEOUT_S": "1.0",
            "BERTH_DRAIN_GRACE_S": "3",
            "BERTH_ALLOCATOR_CLAIM_TIMEOUT_S": "2",
            "BERTH_ALLOCATOR_REAP_INTERVAL_S": "0.5",
            "BERTH_ALLOCATOR_REAP_RETRY_S": "1",
            "BERTH_ALLOCATOR_POD_SOURCE": "folders",
            "BERTH_ALLOCATOR_POD_FOLDERS": f"{self.folder}/nodes/*/pods",
            "BERTH_ENI_MANAGER_CLOUD_URL": self.cloud.url,
            "BERTH_ENI_MANAGER_CLOUD_REGION": REGION,
            "BERTH_ENI_MANAGER_CLOUD_SECRET_ID_FILE": str(folder / "secret-id"),
            "BERTH_ENI_MANAGER_CLOUD_SECRET_KEY_FILE": str(folder / "secret-key"),
            "BERTH_ENI_MANAGER_CLOUD_TIMEOUT_S": "2",
            "BERTH_ENI_MANAGER_CLOUD_RETRY_S": "5",
            "BERTH_ENI_MANAGER_CLOUD_CHANGE_TIMEOUT_S": "10",
            "BERTH_ENI_MANAGER_CLOUD_IN_FLIGHT_MAX_S": "5",
            "BERTH_ENI_MANAGER_INSTANCE_GONE_AFTER_S": "2",
            "BERTH_ENI_MANAGER_OBSERVE_INTERVAL_S": "5",
            "BERTH_ENI_MANAGER_ROUND_INTERVAL_S": "1",
            "BERTH_ENI_MANAGER_TERM_TTL_S": "2",
            "BERTH_ENI_MANAGER_SHARDS": "4",
            "BERTH_ENI_MANAGER_SWEEP_INTERVAL_S": "3",
            "BERTH_ENI_MANAGER_SWEEP_GRACE_S": "3",
            "BERTH_ENI_MANAGER_EMPTY_ENI_REST_S": "5",
        }

    async def enable(self) -> None:
        words = EnableWords(
            modes=(NetworkMode.SHARED,),
            subnets=(SubnetId(SUBNET),),
            has_fixed_ips=True,
            pods_max=20,
        )
        async with asyncio.timeout(_READY_S):
            while True:
                try:
                    await enable_cluster(
                        self.bus, words, by="chaos", on_step=lambda _: None, follow_s=_READY_S
                    )
                except BerthError:
                    await asyncio.sleep(_LOOK_S)  # the services are on their way up
                else:
                    return

    async def stocked(self) -> None:
        """Every node has an idle address."""
        async with asyncio.timeout(_READY_S):
            for node in self.up():
                while not len(node.agent.ledger.stock):
                    await node.agent.signals.stock_changed.wait(_READY_S)


@asynccontextmanager
async def world(
    changes: Mapping[str, str] | None = None,
    *,
    is_clustered: bool = False,
    has_clocks: bool = False,
    disk_bytes: int = DISK_BYTES,
) -> AsyncIterator[World]:
    """A cluster that serves; nothing of it is left when the block ends. `has_clocks`: those of
    the services and of the one store may be stepped."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="berth-", dir=memory))
        )
        clock = WallClock(folder / f"{STORE}.clock") if has_clocks else None
        if clock is not None:
            stack.callback(clear_away)
        if is_clustered:
            parts = await stack.enter_async_context(clusters_of_three(folder, CLUSTER))
        else:
            parts = stack.enter_context(one_of_each(folder, disk_bytes, clock=clock))
        cloud = await stack.enter_async_context(simulated_cloud(folder, topology))
        urls = [each.url for each in parts.bus.values()]
        client = await nats.connect(urls, max_reconnect_attempts=-1, reconnect_time_wait=0.2)
        stack.push_async_callback(client.close)
        redis = parts.open_store(CLUSTER)
        stack.push_async_callback(redis.aclose)
        found = World(folder, parts, cloud, client, redis)
        if clock is not None:
            found.clocks[STORE] = clock
        await stack.enter_async_context(found._stack)
        await found.start_services(folder, changes or {})
        await found.enable()
        for n in range(NODES):
            await found.join(f"node-{n}", f"ins-{n}")
        await found.stocked()
        yield found
