"""Implements Workloads by what the nodes' agents tell: pods that have an address, and no more.

An agent knows neither the Pod object of a pod that has ended nor any workload, so nothing is
ever proven gone here: cascade, scale-down and take-over by a Pod object's end need another
source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.allocator.domain.ports import LeaseStore
from services.allocator.domain.retention import Presence, WorkloadSight
from shared.addresses import AddressState
from shared.errors import BerthError
from shared.ids import PodName, PodUid, WorkloadName
from shared.messages.leases import ReportedAddress

_NO_SOURCE = "agents know no workloads: set pod_source"


class ReportedPods:
    """A pod that waits for its fixed address has asked for it, which the lease itself shows."""

    def __init__(self, leases: LeaseStore) -> None:
        self._leases = leases

    async def named(self, pods: Collection[PodName]) -> Mapping[PodName, Presence]:
        if not pods:
            return {}
        try:
            seen = await self._seen()
        except BerthError:
            return dict.fromkeys(pods, Presence.UNKNOWN)
        return {pod: Presence.PRESENT if pod in seen else Presence.ABSENT for pod in pods}

    async def objects(self, pod: PodName, uid: PodUid) -> Presence:
        return Presence.UNKNOWN

    async def workloads(
        self, names: Collection[WorkloadName]
    ) -> Mapping[WorkloadName, WorkloadSight]:
        return {
            name: WorkloadSight(presence=Presence.UNKNOWN, detail=_NO_SOURCE) for name in names
        }

    async def _seen(self) -> set[PodName]:
        seen = set()
        for node in await self._leases.nodes():
            for view in await self._leases.reported(node):
                entry = ReportedAddress.model_validate_json(view.body)
                if entry.state is AddressState.BOUND_IMMEDIATE and entry.identity is not None:
                    seen.add(PodName(entry.identity.namespace, entry.identity.name))
        return seen
