"""The servers of a world: one of each with a disk that may run full, or clusters of three."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from shared.ids import ClusterName
from shared.settings import StoreSettings
from shared.store.connection import open_store
from shared.store.permissions import StoreUser
from tests.chaos.relays import Link
from tests.support.bus_clusters import BusCluster, Routes, bus_cluster, direct_routes
from tests.support.sentinels import WatchedStore, watched_store
from tests.support.servers import NatsServer, RedisServer, Server, nats_server, redis_server
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.wall_clocks import WallClock

DISK_BYTES: Final = 64 << 20
_REPLICAS: Final = "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """By name; `routes` by who connects and to whom.

    `routes`, `bus_cluster` and `watched` where there are three of each.
    """

    bus: dict[str, NatsServer]
    store: dict[str, RedisServer]
    sentinels: dict[str, RedisServer] = field(default_factory=dict)
    disks: dict[str, SmallDisk] = field(default_factory=dict)
    routes: dict[tuple[str, str], Link] = field(default_factory=dict)
    bus_cluster: BusCluster | None = None
    watched: WatchedStore | None = None

    @property
    def servers(self) -> dict[str, Server]:
        return {**self.bus, **self.store, **self.sentinels}

    def environment(self, user: StoreUser) -> dict[str, str]:
        """How a service reaches clusters; one of each is reached through relays."""
        if self.bus_cluster is None or self.watched is None:
            return {}
        told = self.watched.settings_of(user)
        return {
            "BERTH_NATS_URL": self.bus_cluster.url,
            **{f"BERTH_{name.upper()}": str(value) for name, value in told.items()},
            "BERTH_ALLOCATOR_JOURNAL_REPLICAS": _REPLICAS,
        }

    def open_store(self, cluster: ClusterName) -> Redis:
        """For a reader of all books, wherever the master is."""
        if self.watched is None:
            [server] = self.store.values()
            return Redis.from_url(server.url)
        told = self.watched.settings_of(StoreUser.ENI_MANAGER)
        return open_store(StoreSettings.model_validate({"cluster": cluster} | told))


@contextmanager
def one_of_each(
    folder: Path, disk_bytes: int, *, clock: WallClock | None = None
) -> Iterator[Parts]:
    """`clock`: of the store."""
    environment = clock.environment if clock is not None else None
    with (
        small_disk(folder / "nats", size_bytes=disk_bytes) as bus_disk,
        small_disk(folder / "redis", size_bytes=disk_bytes) as store_disk,
        nats_server(disk=bus_disk) as bus,
        redis_server(disk=store_disk, environment=environment) as store,
    ):
        yield Parts(
            bus={"nats": bus},
            store={"redis": store},
            disks={"nats": bus_disk, "redis": store_disk},
        )


@asynccontextmanager
async def relayed(routes: Routes) -> AsyncIterator[tuple[Routes, dict[tuple[str, str], Link]]]:
    """The same routes, each by a relay of its own."""
    async with AsyncExitStack() as stack:
        links = {}
        for way, port in routes.ways.items():
            links[way] = await Link.start(port)
            stack.push_async_callback(links[way].aclose)
        ways = {way: link.port for way, link in links.items()}
        yield Routes(routes.listens, ways), links


@asynccontextmanager
async def clusters_of_three(folder: Path, cluster: ClusterName) -> AsyncIterator[Parts]:
    """NATS of three, the journal on each; a store and its replica under three sentinels."""
    async with relayed(direct_routes()) as (routes, links):
        with bus_cluster(routes) as bus, watched_store(cluster, folder) as store:
            await bus.ready()
            yield Parts(
                bus=bus.servers,
                store={"master": store.master, "replica": store.replica},
                sentinels={f"sentinel-{n}": each for n, each in enumerate(store.sentinels)},
                routes=links,
                bus_cluster=bus,
                watched=store,
            )
