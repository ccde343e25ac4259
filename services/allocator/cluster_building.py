"""The parts that keep a cluster's record, built from what `main` has opened."""

from __future__ import annotations

from dataclasses import dataclass

from nats.aio.client import Client
from redis.asyncio import Redis

from shared.bus.client import BusClient
from shared.clock import Clock
from shared.kubernetes.client import KubernetesClient
from shared.runtime.loops import Loops

from .adapters.cluster_books import DurableClusterBooks
from .adapters.cluster_world import BusClusterWorld, SettingsKubernetes
from .cluster_keeper import ClusterKeeper
from .cluster_life import ClusterLife
from .cluster_progress import ClusterProgress
from .config import AllocatorSettings
from .domain.cluster_ports import Kubernetes
from .domain.ports import LeaseStore
from .durable_steps import EventTeller
from .kubernetes.facts import AskedKubernetes
from .operations import LeaseOperations
from .pods_in_use import PodsInUse


async def open_cluster(
    settings: AllocatorSettings, nats: Client, store: Redis, events: EventTeller, clock: Clock
) -> ClusterKeeper:
    """With the record as it is, so that the first request is judged by it."""
    books = DurableClusterBooks(nats, store, settings.cluster)
    keeper = ClusterKeeper(books, events, clock)
    await keeper.refresh()
    return keeper


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterParts:
    life: ClusterLife
    progress: ClusterProgress
    keeper: ClusterKeeper
    interval_s: float

    def keep_going(self, loops: Loops) -> None:
        loops.every(
            "cluster",
            self.progress.round,
            interval_s=self.interval_s,
            wake=self.keeper.changed,
        )


def build_cluster(
    settings: AllocatorSettings,
    keeper: ClusterKeeper,
    client: BusClient,
    leases: LeaseStore,
    operations: LeaseOperations,
    clock: Clock,
    client_of_kubernetes: KubernetesClient | None,
) -> ClusterParts:
    world = BusClusterWorld(client, clock)
    pods = PodsInUse(leases, world)
    kubernetes: Kubernetes = SettingsKubernetes(
        settings.kubernetes_version, settings.kubernetes_uses_cni
    )
    if client_of_kubernetes is not None:
        kubernetes = AskedKubernetes(
            client_of_kubernetes, uses_cni=settings.kubernetes_uses_cni
        )
    return ClusterParts(
        life=ClusterLife(keeper, world, leases, pods, clock),
        progress=ClusterProgress(keeper, world, kubernetes, leases, operations, pods, clock),
        keeper=keeper,
        interval_s=settings.cluster_interval_s,
    )
