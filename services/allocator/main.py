"""Builds the allocator: everything is closed in the reverse of the order it was opened in."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from contextlib import AsyncExitStack
from datetime import timedelta

from shared.bus.client import BusClient
from shared.bus.connection import BUS_CONDITION, close_bus, connect_bus
from shared.bus.server import RequestServer
from shared.clock import Clock, SystemClock
from shared.kubernetes.client import KubernetesClient
from shared.messages.base import ServiceName
from shared.messages.moves import ADDRESS_RECLAIM
from shared.policies import LeasePolicy
from shared.runtime.lifecycle import service_main
from shared.runtime.loops import Loops
from shared.store.connection import STORE_CONDITION, check_store, close_store, open_store
from shared.telemetry.health import HealthServer, Readiness

from .adapters.bus_instances import BusInstances, BusMachines
from .adapters.cluster_world import BusClusterWorld, BusInventories
from .adapters.endpoints import BusEniManager, handlers
from .adapters.folder_workloads import FolderWorkloads
from .adapters.reported_pods import ReportedPods
from .books import open_books
from .cluster_building import build_cluster, open_cluster
from .config import AllocatorSettings
from .domain.ports import LeaseStore, Workloads
from .durable_steps import DurableSteps
from .epochs import EPOCH_CONDITION
from .gone_nodes import GoneNodes
from .kubernetes import part
from .kubernetes.part import Surroundings
from .kubernetes.workloads import KubernetesWorkloads
from .nominations import Nominations
from .operations import LeaseOperations
from .parker import Parker
from .pressure import Pressure
from .reaper import Reaper, ReaperLimits
from .returning import ReturningNodes
from .service import Allocator
from .takeovers import TakeOvers

log = logging.getLogger(__name__)

_DESCRIPTION = "Decides which pod holds which address; run as many replicas as you like."


def main() -> None:
    service_main("berth-allocator", _DESCRIPTION, AllocatorSettings, serve)


async def serve(settings: AllocatorSettings, stop: asyncio.Event) -> None:
    """Serve until `stop`; then take no more, finish what was taken, close."""
    clock = SystemClock()
    rng = random.Random()
    readiness = Readiness(BUS_CONDITION, STORE_CONDITION, EPOCH_CONDITION)
    async with AsyncExitStack() as stack:
        nats = await connect_bus(settings, client_name="allocator", readiness=readiness)
        stack.push_async_callback(close_bus, nats)

        store = open_store(settings)
        stack.push_async_callback(close_store, store)
        await check_store(store, settings)
        readiness.set(STORE_CONDITION)

        health = HealthServer(readiness)
        stack.push_async_callback(health.aclose)
        await health.start(settings.health_listen)

        books = await open_books(settings, nats, store, readiness, clock, stack)
        leases, steps = books.leases, books.steps
        client = BusClient(nats, cluster=settings.cluster, clock=clock, rng=rng)
        eni_manager = BusEniManager(client)
        keeper = await open_cluster(settings, nats, store, books.events, clock)
        kubernetes = await _kubernetes(settings, stack)
        workloads = _workloads(settings, leases, kubernetes)
        allocator = Allocator(
            leases,
            steps,
            eni_manager,
            books.events,
            clock,
            keeper,
            TakeOvers(leases, steps, workloads, BusInstances(client, clock)),
            ReturningNodes(leases, steps, BusInventories(client), clock),
            Nominations(leases, steps, BusClusterWorld(client, clock), lambda: keeper.current),
            default_expires_after=_span(settings.default_expires_after_s),
            default_policy=LeasePolicy(settings.default_policy),
        )
        operations = LeaseOperations(leases, steps)
        cluster = build_cluster(settings, keeper, client, leases, operations, clock, kubernetes)
        parker = _parker(settings, leases, steps, eni_manager, clock)
        reaper = Reaper(
            leases,
            books.journal,
            steps,
            eni_manager,
            parker,
            workloads,
            clock,
            _limits(settings),
        )

        loops = await stack.enter_async_context(Loops(rng))
        books.keep_going(loops, settings)
        cluster.keep_going(loops)
        loops.every("reaper", reaper.round, interval_s=settings.reap_interval_s)

        server = RequestServer(
            nats, cluster=settings.cluster, clock=clock, in_flight_max=settings.in_flight_max
        )
        stack.push_async_callback(server.drain, grace_s=settings.drain_grace_s)
        pressure = Pressure(leases, steps, lambda: keeper.current, clock)
        gone_nodes = GoneNodes(
            leases,
            steps,
            BusMachines(client, clock),
            BusInventories(client),
            books.events,
            clock,
            default_policy=LeasePolicy(settings.default_policy),
        )
        served = handlers(
            allocator, operations, cluster.life, books.recovery, pressure, gone_nodes
        )
        await server.serve_all(ServiceName.ALLOCATOR, _DESCRIPTION, served)
        if kubernetes is not None:
            around = Surroundings(
                leases=leases,
                operations=operations,
                bus=client,
                has_fixed_ips=lambda: keeper.has_fixed_ips,
                clock=clock,
                rng=rng,
                nats=nats,
                replica=books.writer,
            )
            await part.start(kubernetes, settings, around, loops, stack)
        gc.freeze()  # what lives for ever need not be looked at again: a pause costs 70 ms
        log.info("serving", extra={"health_port": health.port})
        await stop.wait()
        readiness.clear(BUS_CONDITION, "draining")


def _span(seconds: float | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds is not None else None


async def _kubernetes(
    settings: AllocatorSettings, stack: AsyncExitStack
) -> KubernetesClient | None:
    if settings.pod_source != "kubernetes":
        return None
    found = await KubernetesClient.connect(
        settings.kubernetes_config, timeout_s=settings.kubernetes_timeout_s
    )
    stack.push_async_callback(found.aclose)
    return found


def _workloads(
    settings: AllocatorSettings, leases: LeaseStore, kubernetes: KubernetesClient | None
) -> Workloads:
    if kubernetes is not None:
        return KubernetesWorkloads(kubernetes, in_flight_max=settings.kubernetes_in_flight_max)
    if settings.pod_folders is not None and settings.pod_source == "folders":
        return FolderWorkloads(settings.pod_folders)
    return ReportedPods(leases)


def _parker(
    settings: AllocatorSettings,
    leases: LeaseStore,
    steps: DurableSteps,
    eni_manager: BusEniManager,
    clock: Clock,
) -> Parker:
    return Parker(
        leases,
        steps,
        eni_manager,
        clock,
        after=timedelta(seconds=settings.park_after_s),
        timeout=timedelta(seconds=settings.park_timeout_s),
    )


def _limits(settings: AllocatorSettings) -> ReaperLimits:
    return ReaperLimits(
        batch_max=settings.reap_batch_max,
        retry=timedelta(seconds=settings.reap_retry_s),
        look=timedelta(seconds=settings.workload_look_s),
        reclaim_timeout=timedelta(seconds=ADDRESS_RECLAIM.timeout_s),
    )


if __name__ == "__main__":
    main()
