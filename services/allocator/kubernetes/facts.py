"""What the webhooks ask of the rest of Berth: how the cluster was enabled, where leases are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from services.allocator.domain.cluster_checks import (
    KubernetesFacts,
)
from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import LeaseStore
from shared.annotations import NetworkMode
from shared.bus.client import BusClient
from shared.clock import Clock
from shared.ids import Identity, PodName, SubnetId
from shared.kubernetes.client import KubernetesClient
from shared.messages.clusters import SUBNET_LIST, SubnetListRequest

from .admission import ClusterFacts

NETWORK: Final = "berth"  # the name of our CNI network: of the identities that pods get


class AskedKubernetes:
    """Implements Kubernetes: which version it is, it says itself."""

    def __init__(self, kubernetes: KubernetesClient, *, uses_cni: bool | None) -> None:
        self._kubernetes = kubernetes
        self._uses_cni = uses_cni

    async def facts(self) -> KubernetesFacts | None:
        """Raises Unavailable."""
        version = await self._kubernetes.version()
        return KubernetesFacts(version=version, uses_cni=self._uses_cni)


class StoredFacts:
    """Implements PodFacts and PlacingFacts: on the store, and the eni_manager's word."""

    def __init__(
        self,
        leases: LeaseStore,
        bus: BusClient,
        clock: Clock,
        *,
        has_fixed_ips: Callable[[], bool | None],
        default_mode: NetworkMode | None,
        zone_label: str,
    ) -> None:
        self._leases = leases
        self._bus = bus
        self._clock = clock
        self._has_fixed_ips = has_fixed_ips
        self._default_mode = default_mode
        self._zone_label = zone_label
        self._zones: dict[SubnetId, str] = {}  # a subnet's zone never changes

    def cluster(self) -> ClusterFacts:
        return ClusterFacts(
            has_fixed_ips=self._has_fixed_ips(),
            default_mode=self._default_mode,
            zone_label=self._zone_label,
        )

    async def lease_of(self, pod: PodName) -> Lease | None:
        return await self._leases.find(Identity(pod.namespace, pod.name, NETWORK))

    async def zone_of(self, pod: PodName) -> str | None:
        lease = await self.lease_of(pod)
        if lease is None:
            return None
        if lease.subnet not in self._zones:
            deadline = self._clock.now() + timedelta(seconds=SUBNET_LIST.timeout_s)
            listed = await self._bus.call(SUBNET_LIST, SubnetListRequest(deadline=deadline))
            self._zones |= {SubnetId(each.subnet): each.zone for each in listed.subnets}
        return self._zones.get(lease.subnet)
