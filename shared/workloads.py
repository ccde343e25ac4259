"""What a workload's Kubernetes object says of its pods: how many there may be at once.

Pods of a Deployment, a ReplicaSet or a Job have random names, so nothing but their number tells
how many fixed addresses they need: one for each that may live at a time.
"""

from __future__ import annotations

import math
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from shared.annotations import NOMINATED_IP
from shared.errors import InvalidInput
from shared.ids import PodName, WorkloadName

WORKLOAD_BYTES_MAX: Final = 1 << 20
_SURGE_DEFAULT: Final = "25%"  # Kubernetes' own
# What Kubernetes allows in a name, and nothing that a token or an identity is split by.
OBJECT_NAME: Final = r"^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$"


class WorkloadKind(StrEnum):
    """Controllers whose pods are known by their number or by their ordinals."""

    STATEFUL_SET = "StatefulSet"
    DEPLOYMENT = "Deployment"
    REPLICA_SET = "ReplicaSet"
    JOB = "Job"


# Random names, and no number that a fixed address could be kept for.
UNCOUNTED_KINDS: Final = frozenset({"DaemonSet", "CronJob"})
COUNTED_KINDS: Final = frozenset(
    {WorkloadKind.DEPLOYMENT, WorkloadKind.REPLICA_SET, WorkloadKind.JOB}
)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel)


class OwnerReference(_Shape):
    """An entry of ``metadata.ownerReferences``."""

    kind: Annotated[str, Field(pattern=OBJECT_NAME, max_length=63)]
    name: Annotated[str, Field(pattern=OBJECT_NAME, max_length=253)]
    controller: bool = False


def controller_of(owners: tuple[OwnerReference, ...]) -> OwnerReference | None:
    return next((owner for owner in owners if owner.controller), None)


def check_nominating(
    pod: PodName, nominated: IPv4Address, owners: tuple[OwnerReference, ...]
) -> None:
    """All pods of a controller would name the same address. Raises InvalidInput."""
    controller = controller_of(owners)
    if controller is not None:
        raise InvalidInput.of(
            f"{NOMINATED_IP} of pod {pod}, made by {controller.kind} {controller.name}",
            str(nominated),
            "no such annotation, except on a pod without a controller",
        )


class _Metadata(_Shape):
    name: Annotated[str, Field(pattern=OBJECT_NAME, max_length=253)]
    namespace: str
    owner_references: tuple[OwnerReference, ...] = ()


class _RollingUpdate(_Shape):
    max_surge: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d+%$")] = (
        _SURGE_DEFAULT
    )


class _Strategy(_Shape):
    type: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"
    rolling_update: _RollingUpdate = _RollingUpdate()


class _Ordinals(_Shape):
    start: Annotated[int, Field(ge=0)] = 0


class _Spec(_Shape):
    replicas: Annotated[int, Field(ge=0)] = 1
    parallelism: Annotated[int, Field(ge=0)] = 1
    strategy: _Strategy = _Strategy()
    ordinals: _Ordinals = _Ordinals()


class WorkloadObject(_Shape):
    """A StatefulSet, Deployment, ReplicaSet or Job as the API server shows it."""

    kind: WorkloadKind
    metadata: _Metadata
    spec: _Spec

    @property
    def name(self) -> WorkloadName:
        return WorkloadName(self.metadata.namespace, self.kind, self.metadata.name)

    @property
    def owner(self) -> OwnerReference | None:
        return controller_of(self.metadata.owner_references)

    @property
    def pods_max(self) -> int:
        """Pods there may be at once, those that replace others included; at least one."""
        count = self.spec.replicas
        if self.kind is WorkloadKind.JOB:
            count = self.spec.parallelism
        elif self.kind is WorkloadKind.DEPLOYMENT:
            count += self._surge()
        return max(1, count)

    @property
    def ordinals(self) -> range:
        """Of the pods that a StatefulSet of this many replicas has."""
        first = self.spec.ordinals.start
        return range(first, first + self.spec.replicas)

    def _surge(self) -> int:
        if self.spec.strategy.type == "Recreate":
            return 0
        surge = self.spec.strategy.rolling_update.max_surge
        if isinstance(surge, int):
            return surge
        return math.ceil(self.spec.replicas * int(surge[:-1]) / 100)


def parse_workload(body: bytes, source: str) -> WorkloadObject:
    """Raises InvalidInput: where, which field, and what is allowed."""
    try:
        return WorkloadObject.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"])) or "body"
        raise InvalidInput(f"{source}: {field}: {problem['msg']}") from error


def file_name(workload: WorkloadName) -> str:
    """In a folder of objects, beside the pods' files; no part can hold a "_"."""
    return f"{workload.namespace}_{workload.kind}_{workload.name}.json"
