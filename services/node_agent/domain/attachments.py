"""What the agent remembers of each attachment and of each claim to a fixed address (pure).

An *attachment* is who uses what in the kernel now: it lives in tmpfs and dies with the boot.
A *claim* is what was asked of the allocator for an attachment under `Never`: it lives in the
state folder, because a power cut ends the pod but not the question.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from shared.annotations import DeletePolicy, NetworkMode
from shared.ids import (
    AttachmentKey,
    EniId,
    Generation,
    Identity,
    PodName,
    PodUid,
    SubnetId,
    WorkloadName,
)

FIRST_IFNAME: Final = "eth0"
HOST_PREFIX: Final = {NetworkMode.SHARED: "eni", NetworkMode.EXCLUSIVE: "ene"}
_DIGEST_CHARACTERS: Final = 11  # "eni" + 11 = 14 of the 15 that a link's name may have
_HOST_LINK: Final = re.compile(
    rf"({'|'.join(HOST_PREFIX.values())})[0-9a-f]{{{_DIGEST_CHARACTERS}}}"
)


class Phase(StrEnum):
    WIRING = "wiring"  # the kernel may hold part of it: a crash here is undone
    WIRED = "wired"  # the kernel held all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEni:
    """What else the sandbox of an exclusive attachment was given, beside its address."""

    subnet_cidr: IPv4Network
    gateway: IPv4Address
    veth_ifname: str  # of the sandbox's end of the second link
    veth_mac: str
    by_veth: tuple[IPv4Network, ...]  # destinations that the node serves


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One interface of one sandbox and the address it has."""

    key: AttachmentKey
    pod: PodName | None
    pod_uid: PodUid | None
    mode: NetworkMode
    policy: DeletePolicy
    address: IPv4Address
    eni: EniId
    generation: Generation | None  # of the fixed lease; None: Immediate
    host_ifname: str
    host_mac: str  # with the name it tells our link from its successor's of the same name
    mac: str  # of the sandbox's link; of the ENI, when the sandbox has a whole one
    mtu: int
    netns_path: str
    phase: Phase
    since: datetime
    own_eni: OwnEni | None = None  # None: the address shares its ENI with others
    identity: Identity | None = None  # of the fixed lease
    netns_inode: int | None = None  # tells it from another namespace that has its path later


class ClaimPhase(StrEnum):
    ACQUIRING = "acquiring"  # asked, no definite answer yet: the candidate is promised
    WITHDRAWING = "withdrawing"  # refused; promised until no copy of the question can act
    BOUND = "bound"  # the lease is this attachment's
    RELEASING = "releasing"  # unwired; the allocator has not yet said that it knows


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateAddress:
    address: IPv4Address
    eni: EniId
    subnet: SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One attachment's claim to the fixed address of its identity."""

    key: AttachmentKey
    identity: Identity
    pod_uid: PodUid
    expires_after: timedelta | None
    phase: ClaimPhase
    candidate: CandidateAddress | None
    mode: NetworkMode = NetworkMode.SHARED
    is_abandoned: bool = False  # a DEL came before the answer: release what was acquired
    address: IPv4Address | None = None
    eni: EniId | None = None
    generation: Generation | None = None
    since: datetime
    workload: WorkloadName | None = None  # what made the pod
    pods_max: int | None = None  # of it at once: the identity becomes one of as many slots
    policy: DeletePolicy = DeletePolicy.NEVER
    nominated: IPv4Address | None = None  # by the pod
    subnets: tuple[SubnetId, ...] = ()  # that the pod names for a lease it does not have yet


class AttachmentIndex:
    """Attachments by key, by host link and by address."""

    def __init__(self, attachments: Iterable[Attachment] = ()) -> None:
        self._by_key: dict[AttachmentKey, Attachment] = {}
        self._by_link: dict[str, AttachmentKey] = {}
        self._by_address: dict[IPv4Address, AttachmentKey] = {}
        for attachment in attachments:
            self.put(attachment)

    def __iter__(self) -> Iterator[Attachment]:
        return iter(list(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: AttachmentKey) -> Attachment | None:
        return self._by_key.get(key)

    def of_link(self, host_ifname: str) -> Attachment | None:
        """Who has the host link of this name: one pod's sandboxes share the name."""
        key = self._by_link.get(host_ifname)
        return None if key is None else self._by_key[key]

    def of_address(self, address: IPv4Address) -> Attachment | None:
        key = self._by_address.get(address)
        return None if key is None else self._by_key[key]

    def put(self, attachment: Attachment) -> None:
        self.remove(attachment.key)
        self._by_key[attachment.key] = attachment
        self._by_link[attachment.host_ifname] = attachment.key
        self._by_address[attachment.address] = attachment.key

    def remove(self, key: AttachmentKey) -> None:
        old = self._by_key.pop(key, None)
        if old is None:
            return
        if self._by_link.get(old.host_ifname) == key:
            del self._by_link[old.host_ifname]
        if self._by_address.get(old.address) == key:
            del self._by_address[old.address]


def host_ifname(
    key: AttachmentKey, pod: PodName | None, mode: NetworkMode = NetworkMode.SHARED
) -> str:
    """The host link's name: the pod's, so that its next sandbox replaces it.

    Further interfaces of a pod, and callers that name no pod, get names of their own. The
    prefix tells nftables which links lead to pods that have an ENI of their own.
    """
    text = key.container_id if pod is None else f"{pod.namespace}.{pod.name}"
    if key.ifname != FIRST_IFNAME:
        text += f".{key.ifname}"
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return HOST_PREFIX[mode] + digest[:_DIGEST_CHARACTERS]


def is_pod_link(name: str) -> bool:
    """Whether a link of this name is the host's end of a pod's wire."""
    return _HOST_LINK.fullmatch(name) is not None
