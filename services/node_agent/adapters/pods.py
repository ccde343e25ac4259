"""What a pod is, from a folder of Kubernetes Pod objects (demo, `berth up`, tests), or nowhere.

A file is named ``<namespace>_<name>.json``; whoever writes it renames it into place. Beside
them stand the workloads whose pods have random names: ``<namespace>_<kind>_<name>.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.node_agent.domain.ports import KnownPod, PodOwner
from shared.annotations import DELETE_POLICY, DeletePolicy, parse_pod_network
from shared.errors import InvalidInput, PodUnknown
from shared.ids import PodName, PodUid, WorkloadName
from shared.workloads import (
    COUNTED_KINDS,
    UNCOUNTED_KINDS,
    WORKLOAD_BYTES_MAX,
    OwnerReference,
    WorkloadObject,
    controller_of,
    file_name,
    parse_workload,
)

POD_BYTES_MAX: Final = 1 << 20
_OWNERS_MAX: Final = 3  # a Deployment's ReplicaSet's pod has two


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str
    uid: Annotated[str, Field(min_length=1, max_length=253)]
    annotations: dict[str, str] = {}
    owner_references: Annotated[
        tuple[OwnerReference, ...], Field(alias="ownerReferences", max_length=64)
    ] = ()


class _Pod(BaseModel):
    model_config = ConfigDict(extra="ignore")

    metadata: _Metadata


class FolderPods:
    """Reads one file per question: the folder is small and local."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        """Raises PodUnknown when the file is absent, unreadable or of another pod."""
        pod = self._read(name)
        if (pod.metadata.namespace, pod.metadata.name) != (name.namespace, name.name):
            raise PodUnknown(f"pod {name}: its file tells of another pod")
        if uid is not None and pod.metadata.uid != uid:
            raise PodUnknown(f"pod {name}: known with uid {pod.metadata.uid}, asked for {uid}")
        network = parse_pod_network(pod.metadata.annotations)
        is_fixed = network.policy is DeletePolicy.NEVER
        return KnownPod(
            name=name,
            uid=PodUid(pod.metadata.uid),
            network=network,
            owner=self._owner(name, pod.metadata.owner_references) if is_fixed else None,
        )

    def _owner(self, pod: PodName, references: tuple[OwnerReference, ...]) -> PodOwner | None:
        """Only the outermost is there for as long as the pods come and go."""
        reference = controller_of(references)
        found: WorkloadObject | None = None
        for _ in range(_OWNERS_MAX):
            if reference is None:
                return None if found is None else _counted(found)
            workload = WorkloadName(pod.namespace, reference.kind, reference.name)
            if workload.kind in UNCOUNTED_KINDS:
                raise InvalidInput.of(
                    f"{DELETE_POLICY} of pod {pod}, made by {workload}",
                    DeletePolicy.NEVER.value,
                    "Immediate: its pods have random names and no fixed number",
                )
            if workload.kind not in COUNTED_KINDS:
                return PodOwner(workload=workload, pods_max=None)
            found = self._workload(pod, workload)
            reference = found.owner
        raise PodUnknown(f"pod {pod}: more than {_OWNERS_MAX} owners in a row")

    def _workload(self, pod: PodName, workload: WorkloadName) -> WorkloadObject:
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

    def _read(self, name: PodName) -> _Pod:
        file_name = f"{name.namespace}_{name.name}.json"
        if "/" in file_name or "\0" in file_name:
            raise PodUnknown(f"pod {name}: no pod has such a name")
        try:
            with (self._folder / file_name).open("rb") as file:
                return _Pod.model_validate_json(file.read(POD_BYTES_MAX))
        except FileNotFoundError:
            raise PodUnknown(f"pod {name} is not known (yet) on this node") from None
        except (OSError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise PodUnknown(f"pod {name}: {file_name} cannot be read: {reason}") from error


class NoPods:
    """No source at all: only attachments that name no pod, or ask for none, are served."""

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        raise PodUnknown(f"pod {name}: this agent was told of no pod source")


def _counted(workload: WorkloadObject) -> PodOwner:
    return PodOwner(workload=workload.name, pods_max=workload.pods_max)
