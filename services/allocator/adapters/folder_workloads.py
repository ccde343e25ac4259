"""Implements Workloads on folders of Kubernetes objects as JSON, one a node (demo, `up`).

A Pod is ``<namespace>_<name>.json``, a workload ``<namespace>_<kind>_<name>.json``. What stands
in none of the folders is absent; a folder that cannot be read makes everything unknown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from glob import glob
from pathlib import Path
from typing import Final

from services.allocator.domain.retention import Presence, WorkloadSight
from shared.errors import InvalidInput
from shared.ids import PodName, PodUid, WorkloadName
from shared.workloads import (
    WORKLOAD_BYTES_MAX,
    WorkloadKind,
    WorkloadObject,
    file_name,
    parse_workload,
)

_POD_BYTES_MAX: Final = 1 << 20


class FolderWorkloads:
    """Reads when it is asked: the folders are few, small and local."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    async def named(self, pods: Collection[PodName]) -> Mapping[PodName, Presence]:
        return await asyncio.to_thread(self._named, pods)

    async def objects(self, pod: PodName, uid: PodUid) -> Presence:
        return await asyncio.to_thread(self._object, pod, uid)

    async def workloads(
        self, names: Collection[WorkloadName]
    ) -> Mapping[WorkloadName, WorkloadSight]:
        return await asyncio.to_thread(self._workloads, names)

    def _folders(self) -> list[Path]:
        """Raises OSError when there is none that can be read."""
        folders = [Path(found) for found in glob(self._pattern)]
        if not folders:
            raise FileNotFoundError(f"no folder matches {self._pattern}")
        for folder in folders:
            next(folder.iterdir(), None)
        return folders

    def _named(self, pods: Collection[PodName]) -> dict[PodName, Presence]:
        try:
            folders = self._folders()
        except OSError:
            return dict.fromkeys(pods, Presence.UNKNOWN)
        return {
            pod: Presence.PRESENT
            if any((folder / _pod_file(pod)).exists() for folder in folders)
            else Presence.ABSENT
            for pod in pods
        }

    def _object(self, pod: PodName, uid: PodUid) -> Presence:
        try:
            for folder in self._folders():
                file = folder / _pod_file(pod)
                if file.exists() and _uid_of(file) == uid:
                    return Presence.PRESENT
        except (OSError, ValueError, KeyError, TypeError):
            return Presence.UNKNOWN
        return Presence.ABSENT

    def _workloads(self, names: Collection[WorkloadName]) -> dict[WorkloadName, WorkloadSight]:
        try:
            folders = self._folders()
            return {name: _sight(name, folders) for name in names}
        except (OSError, InvalidInput) as error:
            unknown = WorkloadSight(presence=Presence.UNKNOWN, detail=str(error))
            return dict.fromkeys(names, unknown)


def _sight(name: WorkloadName, folders: list[Path]) -> WorkloadSight:
    for folder in folders:
        file = folder / file_name(name)
        if not file.exists():
            continue
        with file.open("rb") as body:
            return sight_of(parse_workload(body.read(WORKLOAD_BYTES_MAX), file.name))
    return WorkloadSight(presence=Presence.ABSENT)


def sight_of(workload: WorkloadObject) -> WorkloadSight:
    """What the reaper needs of a workload's object, wherever it was read."""
    has_ordinals = workload.kind is WorkloadKind.STATEFUL_SET
    return WorkloadSight(
        presence=Presence.PRESENT,
        pods_max=workload.pods_max,
        ordinals=workload.ordinals if has_ordinals else None,
    )


def _pod_file(pod: PodName) -> str:
    return f"{pod.namespace}_{pod.name}.json"


def _uid_of(file: Path) -> object:
    with file.open("rb") as body:
        return json.loads(body.read(_POD_BYTES_MAX))["metadata"]["uid"]
