"""Implements Workloads on the API server: asked name by name, a bounded number at once.

What cannot be asked is unknown, never absent. Of the workloads, kinds that we know nothing of
are unknown too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import TypeVar

from services.allocator.adapters.folder_workloads import sight_of
from services.allocator.domain.retention import Presence, WorkloadSight
from shared.errors import BerthError, NotFound
from shared.ids import PodName, PodUid, WorkloadName
from shared.kubernetes.answers import ObjectConflict
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.paths import pod_path, workload_path
from shared.kubernetes.watching import Object
from shared.workloads import parse_workload

Name = TypeVar("Name")
Sight = TypeVar("Sight")


class KubernetesWorkloads:
    def __init__(self, kubernetes: KubernetesClient, *, in_flight_max: int) -> None:
        self._kubernetes = kubernetes
        self._in_flight = asyncio.Semaphore(in_flight_max)

    async def named(self, pods: Collection[PodName]) -> Mapping[PodName, Presence]:
        return await self._each(pods, self._named)

    async def objects(self, pod: PodName, uid: PodUid) -> Presence:
        try:
            found = await self._get(pod_path(pod))
        except NotFound:
            return Presence.ABSENT
        except (BerthError, ObjectConflict):
            return Presence.UNKNOWN
        return Presence.PRESENT if found["metadata"]["uid"] == uid else Presence.ABSENT

    async def workloads(
        self, names: Collection[WorkloadName]
    ) -> Mapping[WorkloadName, WorkloadSight]:
        return await self._each(names, self._workload)

    async def _named(self, pod: PodName) -> Presence:
        try:
            await self._get(pod_path(pod))
        except NotFound:
            return Presence.ABSENT
        except (BerthError, ObjectConflict):
            return Presence.UNKNOWN
        return Presence.PRESENT

    async def _workload(self, name: WorkloadName) -> WorkloadSight:
        try:
            path = workload_path(name)
        except ValueError:
            return WorkloadSight(presence=Presence.UNKNOWN, detail=f"{name}: an unknown kind")
        try:
            found = await self._get(path)
            return sight_of(
                parse_workload(json.dumps({"kind": name.kind, **found}).encode(), str(name))
            )
        except NotFound:
            return WorkloadSight(presence=Presence.ABSENT)
        except (BerthError, ObjectConflict) as error:
            return WorkloadSight(presence=Presence.UNKNOWN, detail=str(error))

    async def _get(self, path: str) -> Object:
        async with self._in_flight:
            return await self._kubernetes.get(path)

    async def _each(
        self, names: Iterable[Name], ask: Callable[[Name], Awaitable[Sight]]
    ) -> dict[Name, Sight]:
        asked = list(names)
        return dict(zip(asked, await asyncio.gather(*map(ask, asked)), strict=True))
