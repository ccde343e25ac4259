"""The node agent's process: built here, started in the order in which its promises hold.

Lock and book, kernel = book, spool, socket: the runtime is answered only once what an earlier
life left is settled. The bus may come late: stock is served without it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from contextlib import AsyncExitStack, suppress
from datetime import timedelta

from nats.aio.client import Client

from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.cni_socket import SOCKET_NAME, CniServer
from services.node_agent.adapters.cni_spool import drain_spool
from services.node_agent.adapters.exclusive_netlink import ExclusiveNetlink
from services.node_agent.adapters.kubernetes_access import from_kubeconfig, in_cluster
from services.node_agent.adapters.kubernetes_api import KubernetesApi
from services.node_agent.adapters.kubernetes_pods import KubernetesPods, watch_pods
from services.node_agent.adapters.late_bus import LateBus
from services.node_agent.adapters.metadata import instance_id
from services.node_agent.adapters.netlink import NetlinkKernel
from services.node_agent.adapters.pod_objects import metadata_only
from services.node_agent.adapters.pods import FolderPods, NoPods
from services.node_agent.cni.binary import plugin_path
from services.node_agent.cni.install import install_plugin, write_config_list
from services.node_agent.composition import Agent, World, compose
from services.node_agent.config import NodeAgentSettings, PodSourceKind
from services.node_agent.devices import Devices
from services.node_agent.domain.ports import PodSource, Runtime
from services.node_agent.garbage import Garbage
from services.node_agent.healing import keep_repairing
from services.node_agent.heartbeat import REGISTERED_CONDITION, STOCK_CONDITION
from services.node_agent.registration import Self
from shared.annotations import NetworkMode
from shared.bus.connection import BUS_CONDITION
from shared.bus.roles import Role, client_name
from shared.bus.server import RequestServer
from shared.clock import SystemClock
from shared.errors import Refused
from shared.kubernetes.watching import ObjectWatch
from shared.messages.nodes import AGENT_INVENTORY, AGENT_MEND, STOCK_OFFER, STOCK_RECALL
from shared.runtime.lifecycle import service_main, version
from shared.runtime.loops import Loops
from shared.telemetry.health import HealthServer, Readiness


def main() -> None:
    service_main(
        "berth-node-agent",
        "Gives the pods of one node their addresses and keeps their wires.",
        NodeAgentSettings,
        serve,
    )


async def serve(settings: NodeAgentSettings, stop: asyncio.Event) -> None:
    """Everything is closed in the reverse of the order it was opened in."""
    rng, clock = random.Random(), SystemClock()
    readiness = Readiness(BUS_CONDITION, REGISTERED_CONDITION, STOCK_CONDITION)
    async with AsyncExitStack() as stack:
        book = FileBook(run_dir=settings.run_dir, state_dir=settings.state_dir)
        stack.callback(book.close)
        health = HealthServer(readiness)
        await health.start(settings.health_listen)
        stack.push_async_callback(health.aclose)
        bus = LateBus(
            settings,
            client_name=client_name(Role.NODE_AGENT, settings.node),
            readiness=readiness,
            clock=clock,
            rng=rng,
        )
        stack.push_async_callback(bus.aclose)
        pods, watch = _pod_source(settings, rng, stack)
        kernels = NetlinkKernel(rng), NetlinkKernel(rng)
        for kernel in kernels:
            stack.callback(kernel.close)
        exclusive_kernel = ExclusiveNetlink()
        stack.callback(exclusive_kernel.close)
        world = World(
            bus=bus,
            book=book,
            kernel=kernels[0],
            unlinking_kernel=kernels[1],
            exclusive_kernel=exclusive_kernel,
            pods=pods,
            clock=clock,
            rng=rng,
            readiness=readiness,
        )
        agent = compose(world, settings, await _self(settings))
        if not agent.ledger.stock:
            await bus.connect()  # a node without stock has nothing to serve before the bus
        _install_plugin(settings)
        loops = await stack.enter_async_context(Loops(rng))
        stack.push_async_callback(agent.fixed.aclose)
        agent.start(loops, settings)
        if watch is not None:
            loops.keep("pods", watch.run)
        stack.callback(
            keep_repairing(agent, settings, loops, own=[each.port for each in kernels]).close
        )
        _keep_clean(agent, world.pods, settings, loops)
        _keep_devices(agent, settings, loops, stack)
        orders = Connected(agent, settings)
        stack.push_async_callback(orders.drain)

        async def connect() -> None:
            await bus.keep_trying()
            assert bus.nats is not None, "tried until it was there"
            await orders.listen(bus.nats)
            await asyncio.Event().wait()  # a loop lives as long as the agent

        loops.keep("connect", connect)
        server = await _serve_runtime(agent, settings, loops, stack)
        gc.freeze()  # what lives for ever need not be looked at again: a pause costs 50 ms
        await _until_stopped_or_unreachable(server, settings, stop)


class Connected:
    """What begins with the first connection: the orders of the eni_manager are taken."""

    def __init__(self, agent: Agent, settings: NodeAgentSettings) -> None:
        self._agent = agent
        self._settings = settings
        self._server: RequestServer | None = None

    async def listen(self, nats: Client) -> None:
        self._server = server = RequestServer(
            nats,
            cluster=self._settings.cluster,
            clock=self._agent.clock,
            in_flight_max=self._settings.orders_in_flight_max,
        )
        orders = self._agent.orders
        await server.serve_node(
            self._settings.node,
            {
                STOCK_OFFER: orders.offer,
                STOCK_RECALL: orders.recall,
                AGENT_INVENTORY: orders.inventory,
                AGENT_MEND: self._agent.mending.mend,
            },
        )
        self._agent.signals.want.set()

    async def drain(self) -> None:
        if self._server is not None:
            await self._server.drain(grace_s=self._settings.drain_grace_s)


def _pod_source(
    settings: NodeAgentSettings, rng: random.Random, stack: AsyncExitStack
) -> tuple[PodSource, ObjectWatch | None]:
    """Where pods are looked up; and what has to run for it."""
    if settings.pod_source is not PodSourceKind.KUBERNETES:
        folder = settings.pod_folder
        return NoPods() if folder is None else FolderPods(folder), None
    config = settings.kubernetes_config
    access = in_cluster(os.environ) if config is None else from_kubeconfig(config)
    api = KubernetesApi(access, timeout_s=settings.kubernetes_timeout_s, keep=metadata_only)
    stack.push_async_callback(api.aclose)
    watch = watch_pods(api, settings.node, rng)
    return KubernetesPods(api, watch), watch


async def _self(settings: NodeAgentSettings) -> Self:
    instance = settings.instance
    if instance is None:
        instance = await instance_id(
            settings.metadata_url, timeout_s=settings.metadata_timeout_s
        )
    return Self(
        node=settings.node,
        instance=instance,
        version=version(),
        group=settings.node_group,
        warm_min=settings.warm_addresses_min,
        warm_max=settings.warm_addresses_max,
    )


def _install_plugin(settings: NodeAgentSettings) -> None:
    if settings.cni_bin_dir is None:
        return
    try:
        install_plugin(plugin_path(), settings.cni_bin_dir)
    except OSError as error:
        raise Refused(f"cni_bin_dir {settings.cni_bin_dir}: {error}") from error


def _keep_clean(
    agent: Agent, pods: PodSource, settings: NodeAgentSettings, loops: Loops
) -> None:
    runtime: Runtime | None = None
    if settings.runtime_socket is not None:
        # Imported here: gRPC takes 8 MiB of a node that may not use it.
        from services.node_agent.adapters.runtime import CriRuntime

        runtime = CriRuntime(settings.runtime_socket)
    garbage = Garbage(
        service=agent.service,
        ledger=agent.ledger,
        pods=pods,
        runtime=runtime,
        clock=agent.clock,
        grace=timedelta(seconds=settings.garbage_grace_s),
        exists=os.path.exists,
    )
    loops.every("garbage", garbage.round, interval_s=settings.garbage_interval_s)


def _keep_devices(
    agent: Agent, settings: NodeAgentSettings, loops: Loops, stack: AsyncExitStack
) -> None:
    if settings.kubelet_dir is None:
        return
    # Imported here: gRPC takes 8 MiB of a node that may not use it.
    from services.node_agent.adapters.device_plugin import LOOK_INTERVAL_S, DevicePlugin
    from services.node_agent.adapters.kubelet import KubeletSockets

    kubelet = KubeletSockets(settings.kubelet_dir)
    for mode in NetworkMode:
        devices = Devices(
            mode,
            ledger=agent.ledger,
            kubelet=kubelet,
            clock=agent.clock,
            hold=timedelta(seconds=settings.devices_hold_s),
        )
        plugin = DevicePlugin(devices, kubelet)
        stack.push_async_callback(plugin.aclose)
        loops.every(f"devices {mode}", plugin.look, interval_s=LOOK_INTERVAL_S)


async def _until_stopped_or_unreachable(
    server: CniServer, settings: NodeAgentSettings, stop: asyncio.Event
) -> None:
    """Raises Refused when the run folder is lost: the next start makes it and its book anew."""
    while not stop.is_set():
        if not server.is_reachable:
            raise Refused(
                f"run_dir {settings.run_dir}: the socket is gone from it: start the agent again"
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.spool_interval_s):
                await stop.wait()


async def _serve_runtime(
    agent: Agent, settings: NodeAgentSettings, loops: Loops, stack: AsyncExitStack
) -> CniServer:
    spool = settings.run_dir / "spool"
    await drain_spool(spool, agent.service)
    server = CniServer(
        agent.service,
        socket_path=settings.run_dir / SOCKET_NAME,
        clock=agent.clock,
        in_flight_max=settings.calls_in_flight_max,
    )
    await server.start()

    async def drain() -> None:
        await server.drain(settings.drain_grace_s)

    stack.push_async_callback(drain)

    async def look_after() -> None:
        server.touch_alive()
        await drain_spool(spool, agent.service)

    async def announce() -> None:
        """The configuration list appears once this node can serve, and stays."""
        while not agent.links.names:
            await agent.links.changed.wait(settings.want_interval_s)
        if settings.cni_conf_dir is not None:
            source = "none" if settings.pod_source is PodSourceKind.NONE else None
            write_config_list(
                settings.cni_conf_dir,
                run_dir=settings.run_dir,
                pod_source=source,
                timeout_s=settings.add_timeout_s,
            )
        await asyncio.Event().wait()  # a loop lives as long as the agent

    loops.every("spool", look_after, interval_s=settings.spool_interval_s)
    loops.keep("announce", announce)
    return server


if __name__ == "__main__":
    main()
