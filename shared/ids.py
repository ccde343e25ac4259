"""The names of things, so that a node is never passed where an ENI is meant.

One function, `encode_token`, turns any name into a token that both a NATS subject and a Redis
key can hold: node names may be IP addresses, pod names may hold dots.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, NewType
from urllib.parse import unquote

ClusterName = NewType("ClusterName", str)
NodeName = NewType("NodeName", str)
InstanceId = NewType("InstanceId", str)  # the cloud's word for a node: ins-…
EniId = NewType("EniId", str)  # eni-…
SubnetId = NewType("SubnetId", str)  # subnet-…
VpcId = NewType("VpcId", str)  # vpc-…
Zone = NewType("Zone", str)
PodUid = NewType("PodUid", str)

Incarnation = NewType("Incarnation", int)  # one life of an agent's book, given by node.register
Generation = NewType("Generation", int)  # epoch << GENERATION_BITS | counter; the fence

# Of an attachment that is known by its link alone; no network of CNI may have such a name.
UNKNOWN_NETWORK: Final = "(unknown)"
GENERATION_BITS: Final = 40  # a million leases a second for twelve days in one epoch

_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPED: Final = {
    code: f"%{code:02X}" for code in range(128) if _OTHER.match(chr(code)) is not None
}


def encode_token(name: str) -> str:
    """One subject or key token for any name: bytes outside [A-Za-z0-9_-] become %XX."""
    if not name:
        raise ValueError("a name must not be empty")
    if name.isascii():  # several times in every request
        return name.translate(_ESCAPED)
    return _OTHER.sub(_escape, name)


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def decode_token(token: str) -> str:
    """The name that `encode_token` was given."""
    return unquote(token)


def generation(epoch: int, counter: int) -> Generation:
    """The fence: a later epoch beats every counter of an earlier one."""
    assert epoch >= 1, "epochs start at 1: 0 would compare equal to 'none yet'"
    assert 0 <= counter < 1 << GENERATION_BITS, "the counter of an epoch has run out"
    return Generation(epoch << GENERATION_BITS | counter)


def epoch_of(generation: Generation) -> int:
    """The epoch that a step of this generation was taken in."""
    return generation >> GENERATION_BITS


@dataclass(frozen=True, slots=True, order=True)
class PodName:
    """Namespace and name: what Kubernetes calls a pod by while it lives."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class WorkloadName:
    """What makes pods, and makes them again: a StatefulSet, a Deployment, …"""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def local(self) -> str:
        """Without the namespace; no pod's name holds a colon."""
        return f"{self.kind}:{self.name}"

    @classmethod
    def from_local(cls, namespace: str, local: str) -> WorkloadName:
        kind, _, name = local.partition(":")
        return cls(namespace, kind, name)


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """What a fixed address belongs to: it outlives the pod."""

    namespace: str
    name: str  # pod name, or a workload's pool slot
    network: str
    family: str = "ipv4"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}@{self.network}"

    @classmethod
    def of_slot(cls, workload: WorkloadName, number: int, network: str) -> Identity:
        """A slot of a workload whose pods have random names; no pod's name holds a "#"."""
        return cls(workload.namespace, f"{workload.local}#{number}", network)

    @property
    def slot_workload(self) -> WorkloadName | None:
        """Whose slot it is; None for a pod of a name of its own."""
        local, is_slot, _ = self.name.rpartition("#")
        return WorkloadName.from_local(self.namespace, local) if is_slot else None

    @property
    def pod(self) -> PodName | None:
        """The one pod that it can belong to; None for a slot."""
        return PodName(self.namespace, self.name) if "#" not in self.name else None

    @property
    def token(self) -> str:
        """One token, for subjects, keys and message ids."""
        parts = (self.namespace, self.name, self.network, self.family)
        return encode_token("/".join(parts))

    @classmethod
    def from_token(cls, token: str) -> Identity:
        namespace, name, network, family = decode_token(token).split("/")
        return cls(namespace, name, network, family)


@dataclass(frozen=True, slots=True, order=True)
class AttachmentKey:
    """The CNI specification's own primary key: one interface of one sandbox."""

    network: str
    container_id: str
    ifname: str

    def __str__(self) -> str:
        return f"{self.network}/{self.container_id}/{self.ifname}"

    @property
    def digest(self) -> str:
        """A file name for this attachment: 32 hex digits, whatever the parts hold."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:32]
