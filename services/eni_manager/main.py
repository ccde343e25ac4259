"""berth-eni-manager: built and closed in one stack. Bus and store must answer, the cloud may
be away."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from nats.aio.client import Client
from redis.asyncio import Redis

from services.eni_manager.adapters.bus_agents import BusAgents, BusEvents
from services.eni_manager.adapters.bus_allocators import BusAllocators
from services.eni_manager.adapters.capacity_endpoints import CapacityEndpoints
from services.eni_manager.adapters.cluster_endpoints import ClusterEndpoints
from services.eni_manager.adapters.endpoints import EniManagerEndpoints
from services.eni_manager.adapters.pace import Pace
from services.eni_manager.adapters.rate_limits import RedisPace
from services.eni_manager.adapters.redis_capacities import RedisCapacities
from services.eni_manager.adapters.redis_cluster import RedisCluster
from services.eni_manager.adapters.redis_embargoes import RedisEmbargoes
from services.eni_manager.adapters.redis_eni_wants import RedisEniWants
from services.eni_manager.adapters.redis_enis import RedisEniStore, shard_of
from services.eni_manager.adapters.redis_foreign import RedisForeignBook
from services.eni_manager.adapters.redis_headroom import RedisHeadroom
from services.eni_manager.adapters.redis_leases import RedisLeases
from services.eni_manager.adapters.redis_unclaimed import RedisUnclaimedBook
from services.eni_manager.adapters.redis_vacancies import RedisVacancies
from services.eni_manager.adapters.switched_pace import SwitchedPace
from services.eni_manager.adapters.tencent import TencentCloud
from services.eni_manager.adapters.tencent_access import TencentAccess
from services.eni_manager.adapters.tencent_keys import CloudKeys, FileKeys, RoleKeys
from services.eni_manager.adapters.vacancy_endpoints import VacancyEndpoints
from services.eni_manager.building import Doors, build_tools
from services.eni_manager.cluster_views import ClusterViews
from services.eni_manager.config import EniManagerSettings
from services.eni_manager.domain.ports import EniStore
from services.eni_manager.eni_tags import TAG_CLUSTER
from services.eni_manager.followed_capacities import FollowedCapacities
from services.eni_manager.followed_cluster import FollowedCluster
from services.eni_manager.foreign_watch import ForeignWatch
from services.eni_manager.holding import Holding
from services.eni_manager.inspector import Inspector
from services.eni_manager.kubernetes import part
from services.eni_manager.kubernetes.part import Surroundings
from services.eni_manager.mover import Mover
from services.eni_manager.reclaimer import Reclaimer
from services.eni_manager.reconciler import Pacing, Reconciler
from services.eni_manager.service import EniManager
from services.eni_manager.sweeper import Sweeper, SweepPolicy
from services.eni_manager.tools import Tools
from services.eni_manager.vacancies import VacancyTeller, VacancyViews
from services.eni_manager.whole_moves import WholeMoves
from shared.bus.client import BusClient
from shared.bus.connection import BUS_CONDITION, close_bus, connect_bus
from shared.bus.events import EventLog
from shared.bus.server import RequestServer
from shared.clock import Clock, SystemClock
from shared.cloud.port import CloudApi
from shared.errors import BerthError
from shared.messages.base import ServiceName
from shared.runtime.lifecycle import service_main
from shared.runtime.loops import LONGEST_WAIT_S, Loops
from shared.store.connection import STORE_CONDITION, check_store, close_store, open_store
from shared.telemetry.health import HealthServer, Readiness

log = logging.getLogger(__name__)

CLOUD_CONDITION: Final = "cloud"
_PROGRAM: Final = "berth-eni-manager"


def main() -> None:
    service_main(
        _PROGRAM, "ENIs and addresses of a cluster at the cloud.", EniManagerSettings, serve
    )


async def serve(settings: EniManagerSettings, stop: asyncio.Event) -> None:
    """Until `stop`. Everything is closed in the reverse of the order it was opened in."""
    # These print whole requests, signatures included, at lower levels.
    for noisy in ("tencentcloud_sdk_common", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel("WARNING")
    clock = SystemClock()
    rng = random.SystemRandom()
    readiness = Readiness(BUS_CONDITION, STORE_CONDITION, CLOUD_CONDITION)
    async with AsyncExitStack() as stack:
        health = HealthServer(readiness)
        await health.start(settings.health_listen)
        stack.push_async_callback(health.aclose)
        store = await _open_store(stack, settings, readiness)
        nats, event_log = await _open_bus(stack, settings, readiness)
        capacities = FollowedCapacities(
            RedisCapacities(store, cluster=settings.cluster), settings.capacity()
        )
        await capacities.refresh()
        pace = _open_pace(settings, store)
        stack.push_async_callback(pace.aclose)
        cloud = _open_cloud(settings, SwitchedPace(pace, lambda: capacities.calls), clock)
        stack.push_async_callback(cloud.aclose)

        bus = BusClient(nats, cluster=settings.cluster, clock=clock, rng=rng)
        leases = RedisLeases(store, cluster=settings.cluster)
        record = FollowedCluster(RedisCluster(store, cluster=settings.cluster))
        await record.refresh()
        doors = Doors(
            cloud=cloud,
            record=record,
            leases=leases,
            agents=BusAgents(bus, clock),
            allocators=BusAllocators(bus, clock),
            events=BusEvents(event_log, clock),
            headroom=RedisHeadroom(store, cluster=settings.cluster),
            embargoes=RedisEmbargoes(store, cluster=settings.cluster, clock=clock),
            capacities=capacities,
            wants=RedisEniWants(store, cluster=settings.cluster),
        )
        tools = build_tools(settings, doors, clock, rng)
        stack.push_async_callback(tools.instances.aclose)
        stack.push_async_callback(tools.enis_on.aclose)
        replica = _owner(rng)
        terms = open_store(settings)
        stack.push_async_callback(close_store, terms)
        enis = RedisEniStore(
            store, cluster=settings.cluster, owner=replica, clock=clock, terms=terms
        )
        reconciler = Reconciler(enis, tools, _pacing(settings), shard_of)
        service = EniManager(
            reconciler,
            Mover(tools),
            Reclaimer(leases),
            WholeMoves(tools),
            Holding(tools),
            enis,
            cloud,
            first_look_wait_s=settings.first_look_wait_s,
        )

        # Closed last to first: requests end, loops end, then the shards are given up.
        stack.push_async_callback(reconciler.stop)
        loops = await stack.enter_async_context(Loops(rng))
        _start_loops(loops, settings, tools, enis, reconciler, store, readiness)
        cluster = _watch_subnets(loops, settings, tools, enis, reconciler, store)
        views = _tell_vacancies(loops, settings, tools, reconciler, store)
        server = RequestServer(
            nats, cluster=settings.cluster, clock=clock, in_flight_max=settings.in_flight_max
        )
        stack.push_async_callback(server.drain, grace_s=settings.drain_grace_s)
        await server.serve_all(
            ServiceName.ENI_MANAGER,
            "ENIs and addresses at the cloud",
            EniManagerEndpoints(service, clock).handlers()
            | cluster.handlers()
            | CapacityEndpoints(capacities, enis).handlers()
            | VacancyEndpoints(views).handlers(),
        )
        around = Surroundings(
            store=enis,
            views=views,
            tools=tools,
            bus=bus,
            clock=clock,
            rng=rng,
            replica=replica,
            retry=timedelta(seconds=max(settings.round_interval_s, LONGEST_WAIT_S)),
        )
        await part.start(settings, around, loops, stack)
        log.info("serving", extra={"health_port": health.port})
        await stop.wait()
        log.info("stopping")


async def _open_store(
    stack: AsyncExitStack, settings: EniManagerSettings, readiness: Readiness
) -> Redis:
    store = open_store(settings)
    stack.push_async_callback(close_store, store)
    await check_store(store, settings)
    readiness.set(STORE_CONDITION)
    return store


async def _open_bus(
    stack: AsyncExitStack, settings: EniManagerSettings, readiness: Readiness
) -> tuple[Client, EventLog]:
    nats = await connect_bus(settings, client_name=ServiceName.ENI_MANAGER, readiness=readiness)
    stack.push_async_callback(close_bus, nats)
    event_log = EventLog(nats, cluster=settings.cluster)
    stack.push_async_callback(event_log.aclose)
    await event_log.ensure_stream()
    return nats, event_log


def _start_loops(
    loops: Loops,
    settings: EniManagerSettings,
    tools: Tools,
    enis: EniStore,
    reconciler: Reconciler,
    store: Redis,
    readiness: Readiness,
) -> None:
    sweep_now = asyncio.Event()
    loops.every(
        "cluster",
        _follow_cluster(tools, reconciler, sweep_now),
        interval_s=settings.cluster_interval_s,
    )
    loops.every(
        "subnets",
        _watch_cloud(tools, readiness),
        interval_s=settings.subnets_interval_s,
    )
    loops.every(
        "store",
        _watch_store(store, settings, readiness),
        interval_s=settings.round_interval_s,
    )
    sweeper = Sweeper(
        enis,
        tools,
        SweepPolicy(mode=settings.sweep, grace_s=settings.sweep_grace_s),
        RedisUnclaimedBook(store, cluster=settings.cluster),
        reconciler.leading_right,
    )
    loops.every("capacities", tools.capacities.refresh, interval_s=settings.cluster_interval_s)
    loops.every("wants", tools.vpc_enis.refresh, interval_s=settings.cluster_interval_s)
    loops.every("sweep", sweeper.round, interval_s=settings.sweep_interval_s, wake=sweep_now)
    loops.keep("follower", tools.follower.run)
    for number in range(settings.shards):
        loops.keep(f"shard {number}", partial(reconciler.keep, number))
    loops.every("shards", reconciler.tidy, interval_s=reconciler.renew_every_s)


def _watch_subnets(
    loops: Loops,
    settings: EniManagerSettings,
    tools: Tools,
    enis: EniStore,
    reconciler: Reconciler,
    store: Redis,
) -> ClusterEndpoints:
    """What in the container subnets is ours and what is not, looked for and told."""
    inspector = Inspector(tools, enis)
    foreign = RedisForeignBook(store, cluster=settings.cluster)
    unclaimed = RedisUnclaimedBook(store, cluster=settings.cluster)
    watch = ForeignWatch(
        inspector,
        tools,
        foreign,
        reconciler.leading_right,
        every_s=settings.foreign_interval_s,
    )
    loops.every("foreign", watch.round, interval_s=settings.round_interval_s)
    return ClusterEndpoints(ClusterViews(tools, enis, foreign, unclaimed), inspector)


def _tell_vacancies(
    loops: Loops,
    settings: EniManagerSettings,
    tools: Tools,
    reconciler: Reconciler,
    store: Redis,
) -> VacancyViews:
    book = RedisVacancies(store, cluster=settings.cluster)
    teller = VacancyTeller(
        reconciler, book, tools, lambda node: shard_of(node, settings.shards)
    )
    loops.every("vacancies", teller.round, interval_s=settings.vacancies_interval_s)
    return VacancyViews(book, tools)


def _open_cloud(settings: EniManagerSettings, pace: Pace, clock: Clock) -> CloudApi:
    secret_id, secret_key = settings.read_secrets()
    address = urlsplit(settings.cloud_url) if settings.cloud_url else None
    access = TencentAccess(
        secret_id=secret_id,
        secret_key=secret_key,
        region=settings.cloud_region,
        protocol=address.scheme if address else "https",
        endpoint=address.netloc if address else None,
        timeout_s=settings.cloud_timeout_s,
    )
    return TencentCloud(access, pace, _keys(settings, clock))


def _keys(settings: EniManagerSettings, clock: Clock) -> CloudKeys:
    if settings.cloud_role is not None:
        return RoleKeys(
            settings.cloud_metadata_url,
            settings.cloud_role,
            clock,
            timeout_s=settings.cloud_timeout_s,
        )
    files = [settings.cloud_secret_id_file, settings.cloud_secret_key_file]
    return FileKeys([each for each in files if each is not None], settings.read_secrets)


def _open_pace(settings: EniManagerSettings, store: Redis) -> RedisPace:
    return RedisPace(
        store,
        cluster=settings.cluster,
        rates_per_s=settings.rates_per_s(),
        default_per_s=settings.cloud_default_rate_per_s,
        wait_max_s=settings.cloud_turn_wait_max_s,
    )


def _follow_cluster(
    tools: Tools, reconciler: Reconciler, sweep_now: asyncio.Event
) -> Callable[[], Awaitable[None]]:
    """Subnets come and go while nodes are served; whoever disables waits for the last ENI."""

    async def look() -> None:
        if tools.record.is_disabling:
            sweep_now.set()
        if not await tools.record.refresh():
            return
        log.info("cluster's record has changed", extra={"revision": tools.record.revision})
        try:
            await tools.subnets.refresh()
        finally:
            for worker in reconciler.workers():
                if tools.record.is_disabling:  # an ENI that its book lacks is to go, too
                    worker.observe_soon()
                worker.wake.set()

    return look


def _watch_cloud(tools: Tools, readiness: Readiness) -> Callable[[], Awaitable[None]]:
    """Free addresses, and whether the cloud answers at all: it may come later."""
    subnets = tools.subnets

    async def look() -> None:
        try:
            await subnets.refresh()
            if not tools.record.container():  # nothing was asked yet
                await tools.cloud.find_enis_tagged({TAG_CLUSTER: tools.cluster})
        except BerthError as error:
            readiness.clear(CLOUD_CONDITION, str(error))
            raise
        if missing := subnets.missing():
            readiness.clear(CLOUD_CONDITION, f"no such subnets: {', '.join(missing)}")
            log.warning("subnets are missing at the cloud", extra={"subnets": missing})
        else:
            readiness.set(CLOUD_CONDITION)

    return look


def _watch_store(
    store: Redis, settings: EniManagerSettings, readiness: Readiness
) -> Callable[[], Awaitable[None]]:
    async def look() -> None:
        try:
            await check_store(store, settings)
        except BerthError as error:
            readiness.clear(STORE_CONDITION, str(error))
            raise
        readiness.set(STORE_CONDITION)

    return look


def _pacing(settings: EniManagerSettings) -> Pacing:
    return Pacing(
        shards=settings.shards,
        term_ttl_s=settings.term_ttl_s,
        round_interval_s=settings.round_interval_s,
        observe_interval_s=settings.observe_interval_s,
    )


def _owner(rng: random.Random) -> str:
    """This life of this process: a restarted one is somebody else."""
    return f"{socket.gethostname()}-{os.getpid()}-{rng.getrandbits(48):012x}"


if __name__ == "__main__":
    main()
