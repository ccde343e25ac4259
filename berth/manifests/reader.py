"""A manifest file into workloads: which pods, in which order, with which network.

Everything is checked before anything is started, so that a refusal leaves nothing behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from pydantic import JsonValue, ValidationError

from shared.annotations import PodNetwork
from shared.errors import InvalidInput
from shared.ids import PodName

from .documents import Document, read_text, split_documents
from .models import (
    ContainerShape,
    MetadataShape,
    ObjectShape,
    PodBodyShape,
    PodShape,
    Shape,
    WorkloadShape,
)
from .names import check_label, check_ordinal_names, check_subdomain
from .networks import pod_network
from .problems import first_problem


class WorkloadKind(StrEnum):
    STATEFUL_SET = "StatefulSet"
    DEPLOYMENT = "Deployment"
    POD = "Pod"


# What often stands beside a workload and starts no pod: left out, and said so.
_WITHOUT_PODS: Final = frozenset(
    {
        "ConfigMap",
        "Ingress",
        "Namespace",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
    }
)

AnyShape = TypeVar("AnyShape", bound=Shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Shown to people and written into the pod's JSON; its image and command are never run."""

    name: str
    image: str
    command: tuple[str, ...]  # command and args, one after the other
    requests: dict[str, str]
    limits: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Pods that are alike: a StatefulSet's, a Deployment's, or one alone."""

    document: int
    kind: WorkloadKind
    name: PodName
    replicas: int
    first_ordinal: int
    labels: dict[str, str]
    annotations: dict[str, str]
    network: PodNetwork
    containers: tuple[Container, ...]
    strategy: dict[str, JsonValue] = field(default_factory=dict)  # how a Deployment rolls over


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    workloads: tuple[Workload, ...]
    skipped: tuple[str, ...]  # objects that start no pod, as "Service default/web"


def read_manifest(path: Path) -> Manifest:
    """Read a file. Raises InvalidInput: file, document, field, value and what is allowed."""
    text = read_text(path)
    try:
        return parse_manifest(text)
    except InvalidInput as error:
        raise InvalidInput(f"manifest {path}: {error}") from error


def parse_manifest(text: str) -> Manifest:
    workloads: list[Workload] = []
    skipped: list[str] = []
    for document in split_documents(text):
        try:
            header = _parse(ObjectShape, document)
            if header.kind in _WITHOUT_PODS:
                skipped.append(f"{header.kind} {_name(header.metadata)}")
            else:
                workloads.append(_workload(header, document))
        except InvalidInput as error:
            raise InvalidInput(f"document {document.number}: {error}") from error
    _check_names_differ(workloads)
    if not any(workload.replicas for workload in workloads):
        raise InvalidInput("no pod to run in it; allowed: a StatefulSet, Deployment or Pod")
    return Manifest(workloads=tuple(workloads), skipped=tuple(skipped))


def _workload(header: ObjectShape, document: Document) -> Workload:
    match header.kind:
        case WorkloadKind.POD:
            return _pod(_parse(PodShape, document), document.number)
        case WorkloadKind.STATEFUL_SET | WorkloadKind.DEPLOYMENT:
            return _replicated(_parse(WorkloadShape, document), document.number)
        case _:
            raise InvalidInput.of("kind", header.kind, ", ".join(WorkloadKind))


def _parse(shape: type[AnyShape], document: Document) -> AnyShape:
    try:
        return shape.model_validate(document.content)
    except ValidationError as error:
        raise first_problem(error) from error


def _pod(pod: PodShape, number: int) -> Workload:
    name = _name(pod.metadata)
    check_subdomain("metadata.name", name.name)
    return Workload(
        document=number,
        kind=WorkloadKind.POD,
        name=name,
        replicas=1,
        first_ordinal=0,
        labels=pod.metadata.labels,
        annotations=pod.metadata.annotations,
        network=pod_network(pod.metadata, pod.spec, at=""),
        containers=_containers(pod.spec),
    )


def _replicated(workload: WorkloadShape, number: int) -> Workload:
    kind = WorkloadKind(workload.kind)
    name = _name(workload.metadata)
    spec, template = workload.spec, workload.spec.template
    if kind is WorkloadKind.STATEFUL_SET:
        check_label("metadata.name", name.name)
        last = spec.ordinals.start + max(spec.replicas - 1, 0)
        check_ordinal_names("metadata.name", name.name, last)
    else:
        check_subdomain("metadata.name", name.name)
    _check_selector(spec.selector.match_labels, template.metadata.labels)
    return Workload(
        document=number,
        kind=kind,
        name=name,
        replicas=spec.replicas,
        first_ordinal=spec.ordinals.start if kind is WorkloadKind.STATEFUL_SET else 0,
        labels=template.metadata.labels,
        annotations=template.metadata.annotations,
        network=pod_network(template.metadata, template.spec, at="spec.template"),
        containers=_containers(template.spec),
        strategy=spec.strategy,
    )


def _name(metadata: MetadataShape) -> PodName:
    if metadata.name is None:
        raise InvalidInput("metadata.name: missing; allowed: a name")
    check_label("metadata.namespace", metadata.namespace)
    return PodName(metadata.namespace, metadata.name)


def _check_selector(selector: dict[str, str], labels: dict[str, str]) -> None:
    if not selector:
        raise InvalidInput(
            "spec.selector.matchLabels: missing; allowed: labels of spec.template.metadata"
        )
    for key, value in selector.items():
        if labels.get(key) != value:
            raise InvalidInput.of(
                f"spec.selector.matchLabels[{key}]",
                value,
                f"what spec.template.metadata.labels has: {labels.get(key)!r}",
            )


def _containers(spec: PodBodyShape) -> tuple[Container, ...]:
    return tuple(_container(shape) for shape in spec.containers)


def _container(shape: ContainerShape) -> Container:
    return Container(
        name=shape.name,
        image=shape.image,
        command=(*shape.command, *shape.args),
        requests={key: str(value) for key, value in shape.resources.requests.items()},
        limits={key: str(value) for key, value in shape.resources.limits.items()},
    )


def _check_names_differ(workloads: list[Workload]) -> None:
    first: dict[tuple[WorkloadKind, PodName], int] = {}
    for workload in workloads:
        before = first.setdefault((workload.kind, workload.name), workload.document)
        if before != workload.document:
            raise InvalidInput(
                f"document {workload.document}: metadata.name: {workload.kind} {workload.name} "
                f"is in document {before} already; allowed: a name of its own"
            )
