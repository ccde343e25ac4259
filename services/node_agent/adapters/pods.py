"""What a pod is, from a folder of Kubernetes Pod objects (demo, `berth up`, tests), or nowhere.

A file is named ``<namespace>_<name>.json``; whoever writes it renames it into place. Beside
them stand the workloads whose pods have random names: ``<namespace>_<kind>_<name>.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from services.node_agent.domain.ports import KnownPod
from shared.errors import InvalidInput, PodUnknown
from shared.ids import PodName, PodUid, WorkloadName
from shared.workloads import WORKLOAD_BYTES_MAX, WorkloadObject, file_name, parse_workload

from .pod_objects import PodObject, known_pod

POD_BYTES_MAX: Final = 1 << 20


class FolderPods:
    """Reads one file per question: the folder is small and local."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        """Raises PodUnknown when the file is absent, unreadable or of another pod."""
        return await known_pod(self._read(name), name, uid, self._workload)

    async def _workload(self, pod: PodName, workload: WorkloadName) -> WorkloadObject:
        name = file_name(workload)
        try:
            with (self._folder / name).open("rb") as file:
                return parse_workload(file.read(WORKLOAD_BYTES_MAX), name)
        except FileNotFoundError:
            raise PodUnknown(
                f"pod {pod}: {workload} is not known (yet) on this node, so neither is the"
                " number of its pods"
            ) from None
        except (OSError, InvalidInput) as error:
            raise PodUnknown(f"pod {pod}: {error}") from error

    def _read(self, name: PodName) -> PodObject:
        file_name = f"{name.namespace}_{name.name}.json"
        if "/" in file_name or "\0" in file_name:
            raise PodUnknown(f"pod {name}: no pod has such a name")
        try:
            with (self._folder / file_name).open("rb") as file:
                return PodObject.model_validate_json(file.read(POD_BYTES_MAX))
        except FileNotFoundError:
            raise PodUnknown(f"pod {name} is not known (yet) on this node") from None
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise PodUnknown(f"pod {name}: {file_name} cannot be read: {reason}") from error


class NoPods:
    """No source at all: only attachments that name no pod, or ask for none, are served."""

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        raise PodUnknown(f"pod {name}: this agent was told of no pod source")
