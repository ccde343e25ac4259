"""What a Pod object says of its network, and whose pod it is, however the object came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from services.node_agent.domain.ports import KnownPod, PodOwner
from shared.annotations import (
    DELETE_POLICY,
    PREFIX,
    DeletePolicy,
    parse_pod_network,
)
from shared.errors import InvalidInput, PodUnknown
from shared.ids import PodName, PodUid, WorkloadName
from shared.kubernetes.watching import Object
from shared.workloads import (
    COUNTED_KINDS,
    UNCOUNTED_KINDS,
    OwnerReference,
    WorkloadObject,
    check_nominating,
    controller_of,
)

_KEPT: Final = ("name", "namespace", "uid", "resourceVersion", "ownerReferences")
_OWNERS_MAX: Final = 3  # a Deployment's ReplicaSet's pod has two

WorkloadReader = Callable[[PodName, WorkloadName], Awaitable[WorkloadObject]]
"""Reads a workload for one of its pods. Raises PodUnknown when it cannot."""


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str
    uid: Annotated[str, Field(min_length=1, max_length=253)]
    annotations: dict[str, str] = {}
    owner_references: Annotated[
        tuple[OwnerReference, ...], Field(alias="ownerReferences", max_length=64)
    ] = ()


class PodObject(BaseModel):
    """The part of a Pod that an agent reads."""

    model_config = ConfigDict(extra="ignore")

    metadata: _Metadata


def metadata_only(found: Object) -> Object:
    """What an agent reads of a pod, and a watch of any object: a whole one is a hundred times
    as large, and a node may have two thousand."""
    metadata = found["metadata"]
    kept = {name: metadata[name] for name in _KEPT if name in metadata}
    annotations = metadata.get("annotations") or {}
    kept["annotations"] = {k: v for k, v in annotations.items() if k.startswith(PREFIX)}
    return {"metadata": kept}


async def known_pod(
    pod: PodObject, name: PodName, uid: PodUid | None, read_workload: WorkloadReader
) -> KnownPod:
    """Raises PodUnknown when the object is another pod's, InvalidInput for its annotations."""
    if (pod.metadata.namespace, pod.metadata.name) != (name.namespace, name.name):
        raise PodUnknown(f"pod {name}: its object tells of another pod")
    if uid is not None and pod.metadata.uid != uid:
        raise PodUnknown(f"pod {name}: known with uid {pod.metadata.uid}, asked for {uid}")
    network = parse_pod_network(pod.metadata.annotations)
    if network.nominated is not None:
        check_nominating(name, network.nominated, pod.metadata.owner_references)
    owner = None
    if network.policy is DeletePolicy.NEVER:
        owner = await _owner(name, pod.metadata.owner_references, read_workload)
    return KnownPod(name=name, uid=PodUid(pod.metadata.uid), network=network, owner=owner)


async def _owner(
    pod: PodName, references: tuple[OwnerReference, ...], read_workload: WorkloadReader
) -> PodOwner | None:
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
        found = await read_workload(pod, workload)
        reference = found.owner
    raise PodUnknown(f"pod {pod}: more than {_OWNERS_MAX} owners in a row")


def _counted(workload: WorkloadObject) -> PodOwner:
    return PodOwner(workload=workload.name, pods_max=workload.pods_max)
