"""A cluster whose pods and workloads a test says: implements the allocator's Workloads."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.allocator.domain.retention import Presence, WorkloadSight
from shared.ids import PodName, PodUid, WorkloadName

GONE = WorkloadSight(presence=Presence.ABSENT)


class SeenWorkloads:
    def __init__(self) -> None:
        self.pods: dict[PodName, Presence] = {}
        self.others = Presence.ABSENT  # of pods that are not named here
        self.known: dict[WorkloadName, WorkloadSight] = {}

    async def named(self, pods: Collection[PodName]) -> Mapping[PodName, Presence]:
        return {pod: self.pods.get(pod, self.others) for pod in pods}

    async def objects(self, pod: PodName, uid: PodUid) -> Presence:
        return self.pods.get(pod, self.others)

    async def workloads(
        self, names: Collection[WorkloadName]
    ) -> Mapping[WorkloadName, WorkloadSight]:
        return {name: self.known.get(name, GONE) for name in names}
