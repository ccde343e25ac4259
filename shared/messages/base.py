"""What every message has, and how a subject binds its request to its reply.

Change rule: within v1 a field may only be added, and only with a default. Anything else is
``berth.v2``, served beside v1 until no caller of v1 is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Final, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from shared.errors import ErrorCode
from shared.ids import (
    AttachmentKey,
    ClusterName,
    EniId,
    Identity,
    NodeName,
    SubnetId,
    encode_token,
)
from shared.workloads import OBJECT_NAME

DETAIL_CHARACTERS_MAX: Final = 1024
BATCH_MAX: Final = 512  # entries in any list of a message

Name = Annotated[str, Field(min_length=1, max_length=253)]
Mac = Annotated[str, Field(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")]


class Message(BaseModel):
    """Immutable; unknown fields are ignored, so an older reader survives a newer writer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Request(Message):
    """A request: the caller stops listening at `deadline`, so the server may stop working."""

    deadline: AwareDatetime


class Rejected(Message):
    """The one shape of "no": a stable code, and words for people that nobody parses."""

    type: Literal["berth.v1.rejected"] = "berth.v1.rejected"
    code: ErrorCode
    detail: Annotated[str, Field(max_length=DETAIL_CHARACTERS_MAX)]

    @field_validator("code", mode="before")
    @classmethod
    def _known(cls, code: object) -> object:
        """A newer server may have codes that are not known here: its detail is heard still."""
        is_new = isinstance(code, str) and code not in set(ErrorCode)
        return ErrorCode.INTERNAL if is_new else code


Out = TypeVar("Out", bound=Message)
Req = TypeVar("Req", bound=Request)


class Reply(Message, Generic[Out]):
    """Every answer on the bus: the outcome asked for, or the reason why not."""

    outcome: Out | Rejected  # told apart by `type`


class ServiceName(StrEnum):
    """Who serves a subject; the name of its queue group too."""

    ALLOCATOR = "allocator"
    ENI_MANAGER = "eni_manager"
    NODE_AGENT = "node_agent"


def subject_root(cluster: ClusterName) -> str:
    return f"berth.v1.{encode_token(cluster)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Req, Out]):
    """A subject with the only models allowed on it: client and server share this object."""

    name: str  # below the cluster's root; "<node>" stands for the node's token
    server: ServiceName
    request: type[Req]
    outcome: type[Out]
    idempotency_key: str  # which fields make two requests the same one
    on_timeout: str  # what no answer means, and what the caller does
    timeout_s: float  # how long a caller waits when nothing else bounds it
    # A request to a process just killed is lost: after this time another one is asked.
    attempt_s: float = 3.0

    def subject(self, cluster: ClusterName, node: NodeName | None = None) -> str:
        """Where to publish: to or from this node, if the subject names one."""
        assert (node is not None) == ("<node>" in self.name), f"{self.name} and node {node!r}"
        filled = self.name if node is None else self.name.replace("<node>", encode_token(node))
        return f"{subject_root(cluster)}.{filled}"

    def pattern(self, cluster: ClusterName) -> str:
        """What a server of every node subscribes to."""
        return f"{subject_root(cluster)}.{self.name.replace('<node>', '*')}"


class IdentityFields(Message):
    """An Identity on the wire."""

    namespace: Name
    name: Name
    network: Name
    family: Literal["ipv4"] = "ipv4"

    @classmethod
    def of(cls, identity: Identity) -> IdentityFields:
        return cls(
            namespace=identity.namespace,
            name=identity.name,
            network=identity.network,
            family="ipv4",
        )

    def to_identity(self) -> Identity:
        return Identity(self.namespace, self.name, self.network, self.family)


class WorkloadFields(Message):
    """What makes a pod; its namespace is the pod's."""

    kind: Annotated[str, Field(pattern=OBJECT_NAME, max_length=63)]
    name: Annotated[str, Field(pattern=OBJECT_NAME, max_length=253)]


class AttachmentFields(Message):
    """An AttachmentKey on the wire."""

    network: Name
    container_id: Name
    ifname: Annotated[str, Field(min_length=1, max_length=15)]

    @classmethod
    def of(cls, key: AttachmentKey) -> AttachmentFields:
        return cls(network=key.network, container_id=key.container_id, ifname=key.ifname)

    def to_key(self) -> AttachmentKey:
        return AttachmentKey(self.network, self.container_id, self.ifname)


class EniFields(Message):
    """All that a node needs to know of one of its ENIs to wire pods through it."""

    eni: Name
    subnet: Name
    mac: Mac
    primary_address: IPv4Address
    subnet_cidr: IPv4Network
    gateway: IPv4Address  # the subnet's first address
    is_primary: bool = False  # the instance's own ENI: never carries pods
    is_exclusive: bool = False  # one pod has the whole of it, its primary address included

    @property
    def eni_id(self) -> EniId:
        return EniId(self.eni)

    @property
    def subnet_id(self) -> SubnetId:
        return SubnetId(self.subnet)
