"""Workloads into pods, and a pod into the JSON that Kubernetes would hold of it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from shared.annotations import PodNetwork
from shared.errors import InvalidInput
from shared.ids import NodeName, PodName, PodUid, WorkloadName
from shared.workloads import file_name as workload_file_name

from .names import generated_name, random_suffix
from .reader import Container, Manifest, Workload, WorkloadKind

Json = JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What made the pod, and would make it again."""

    kind: str
    name: str
    uid: str
    replicas: int
    owner: Owner | None = None  # of a Deployment's ReplicaSet: the Deployment
    strategy: dict[str, Json] = field(default_factory=dict, hash=False)

    @property
    def reference(self) -> Json:
        return {
            "apiVersion": "apps/v1",
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """One pod to run."""

    name: PodName
    uid: PodUid
    owner: Owner | None
    labels: dict[str, str]
    annotations: dict[str, str]
    network: PodNetwork
    containers: tuple[Container, ...]


def new_uid(rng: random.Random) -> PodUid:
    return PodUid(str(uuid.UUID(int=rng.getrandbits(128), version=4)))


def pods_of(manifest: Manifest, rng: random.Random) -> list[PodSpec]:
    """Every pod, in the order of the file and of the ordinals. Names never clash."""
    pods: dict[PodName, PodSpec] = {}
    for workload in manifest.workloads:
        owner = _owner(workload, rng)
        for name in _names(workload, owner, rng):
            if name in pods:
                raise InvalidInput(
                    f"document {workload.document}: metadata.name: pod {name} is made by an "
                    "earlier document too; allowed: a name of its own"
                )
            pods[name] = PodSpec(
                name=name,
                uid=new_uid(rng),
                owner=owner,
                labels=workload.labels,
                annotations=workload.annotations,
                network=workload.network,
                containers=workload.containers,
            )
    return list(pods.values())


def reborn(pod: PodSpec, rng: random.Random) -> PodSpec:
    """The pod its StatefulSet makes after it was deleted: the same name, another uid."""
    return replace(pod, uid=new_uid(rng))


def file_name(pod: PodName) -> str:
    """In the folder that a node's agent reads its pods from; neither part can hold a '_'."""
    return f"{pod.namespace}_{pod.name}.json"


def pod_json(pod: PodSpec, node: NodeName) -> dict[str, Json]:
    """The Pod object as the API server would show it on its node."""
    metadata: dict[str, Json] = {
        "name": pod.name.name,
        "namespace": pod.name.namespace,
        "uid": pod.uid,
        "labels": {**pod.labels},
        "annotations": {**pod.annotations},
    }
    if pod.owner is not None:
        metadata["ownerReferences"] = [pod.owner.reference]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [_container(each) for each in pod.containers]},
        "status": {"phase": "Pending"},
    }


def owner_files(pod: PodSpec) -> dict[str, dict[str, Json]]:
    """What made the pod, and what made that, as files beside the pod's."""
    files: dict[str, dict[str, Json]] = {}
    owner = pod.owner
    while owner is not None:
        name = WorkloadName(pod.name.namespace, owner.kind, owner.name)
        files[workload_file_name(name)] = _owner_json(name, owner)
        owner = owner.owner
    return files


def _owner_json(name: WorkloadName, owner: Owner) -> dict[str, Json]:
    metadata: dict[str, Json] = {
        "name": name.name,
        "namespace": name.namespace,
        "uid": owner.uid,
    }
    if owner.owner is not None:
        metadata["ownerReferences"] = [owner.owner.reference]
    spec: dict[str, Json] = {"replicas": owner.replicas}
    if owner.strategy:
        spec["strategy"] = owner.strategy
    return {"apiVersion": "apps/v1", "kind": owner.kind, "metadata": metadata, "spec": spec}


def _container(container: Container) -> Json:
    return {
        "name": container.name,
        "image": container.image,
        "command": [*container.command],
        "resources": {"requests": {**container.requests}, "limits": {**container.limits}},
    }


def _owner(workload: Workload, rng: random.Random) -> Owner | None:
    name, kind = workload.name.name, str(workload.kind)
    if workload.kind is WorkloadKind.POD:
        return None
    owner = Owner(
        kind=kind,
        name=name,
        uid=new_uid(rng),
        replicas=workload.replicas,
        strategy=workload.strategy,
    )
    return owner if workload.kind is not WorkloadKind.DEPLOYMENT else replica_set(owner, rng)


def replica_set(deployment: Owner, rng: random.Random) -> Owner:
    """Each version of a Deployment's pods belongs to a ReplicaSet of its own."""
    return Owner(
        kind="ReplicaSet",
        name=f"{deployment.name}-{random_suffix(rng, 10)}",
        uid=new_uid(rng),
        replicas=deployment.replicas,
        owner=deployment,
    )


def _names(workload: Workload, owner: Owner | None, rng: random.Random) -> Iterator[PodName]:
    namespace = workload.name.namespace
    if owner is None:
        yield workload.name
        return
    for ordinal in range(workload.replicas):
        if workload.kind is WorkloadKind.STATEFUL_SET:
            yield PodName(namespace, f"{owner.name}-{workload.first_ordinal + ordinal}")
        else:
            yield PodName(namespace, generated_name(f"{owner.name}-", rng))
