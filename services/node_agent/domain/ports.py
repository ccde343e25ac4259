"""What the use cases need of the world: a kernel, a book that survives, and pods to look up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Final, Protocol

from shared.annotations import NetworkMode, PodNetwork
from shared.ids import (
    AttachmentKey,
    EniId,
    Incarnation,
    PodName,
    PodUid,
    SubnetId,
    WorkloadName,
)

from .attachments import Attachment, Claim
from .devices import Capacity
from .enis import Eni
from .exclusive import SandboxEni
from .stock import Holding
from .wiring import ForeignRoute, Ingress, LinkAddress, PodWire, Route, Rule, Sysctl


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link of the node's own namespace."""

    name: str
    index: int
    mac: str
    mtu: int
    is_up: bool
    rp_filter: int = 0
    is_ipv6_off: bool = False
    label: str = ""  # of domain/labels.py, if it is a pod's


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEnd:
    """The other end of a pod's host link, as it is found in the sandbox."""

    netns_inode: int
    ifname: str
    mac: str
    by_gateway: tuple[IPv4Network, ...]  # destinations that its routes lead to the node


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the kernel holds: links all, the rest only what carries our mark."""

    links: tuple[Link, ...]
    routes: frozenset[Route]
    rules: frozenset[Rule]
    addresses: frozenset[LinkAddress]  # IPv4, of every link
    foreign: frozenset[ForeignRoute]  # what others have in tables that are not the kernel's
    settings: Mapping[tuple[str, ...], str]  # those that links tell; others must be asked for


class Kernel(Protocol):
    """The node's namespace. Calls are short and made straight from the event loop."""

    def links(self) -> tuple[Link, ...]: ...

    def wire_pod(self, wire: PodWire, netns_fd: int) -> None:
        """Make both sides. An old host link of this name goes first. Raises BerthError."""
        ...

    def rewire_pod(self, wire: PodWire, netns_path: str) -> None:
        """Make anew what of both sides is gone. Raises BerthError."""
        ...

    def unwire_pod(self, wire: PodWire) -> None:
        """Rules and routes are gone when this returns. What is not there is no error."""
        ...

    def pod_end(self, host: Link, netns_path: str) -> PodEnd | None:
        """None: the path names no namespace, or another than the one that this leads to."""
        ...

    def remove_links(self, links: Sequence[tuple[str, str]]) -> None:
        """Delete those that still have their MAC (name, MAC); their peers go with them."""
        ...

    def check_pod(self, wire: PodWire, netns_fd: int) -> tuple[str, ...]:
        """What of the wire is missing or wrong, in words; empty when all is there."""
        ...

    def observe(self) -> Observed: ...

    def add(self, thing: Route | Rule | LinkAddress) -> None:
        """Make it. What exists already is no error; a route of its place is replaced."""
        ...

    def remove(self, thing: Route | Rule | LinkAddress) -> None:
        """Take it away. What is gone already is no error."""
        ...

    def set_up(self, link: str) -> None: ...

    def set_mac(self, link: str, mac: str) -> None: ...

    def set_label(self, link: str, label: str) -> None: ...

    def keep_setting(self, setting: Sysctl) -> bool:
        """Write it if it does not hold what is allowed; whether it had drifted."""
        ...

    def forget_connections(self, addresses: Collection[IPv4Address]) -> None:
        """No packet is let through or translated for what they were used by before."""
        ...

    def give_marks(self, marks: Mapping[IPv4Address, int]) -> None:
        """What is sent from these addresses is marked so; those that are known cost nothing."""
        ...

    def keep_marks(self, marks: Mapping[IPv4Address, int]) -> bool:
        """Exactly these; whether the kernel had others than were given."""
        ...

    def marks(self) -> Mapping[IPv4Address, int]: ...

    def keep_ingress(self, ingress: Ingress | None) -> bool:
        """Our nftables table as wanted; whether it had drifted."""
        ...


class ExclusiveKernel(Protocol):
    """ENIs that move into sandboxes and back. An ENI is known by its MAC, wherever it is."""

    def take_in(self, eni: SandboxEni, netns_fd: int) -> None:
        """Into the sandbox, configured and up; its second link is there. Raises BerthError."""
        ...

    def bring_back(self, mac: str, netns_path: str) -> bool:
        """Into the node's namespace, down and without addresses. It may be back already.
        False when it is in neither namespace."""
        ...

    def wrong(self, eni: SandboxEni, netns_fd: int) -> tuple[str, ...]:
        """What is missing or wrong in the sandbox, in words; empty when all is there."""
        ...


NEVER_REGISTERED: Final = Incarnation(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What must survive a reboot, but for the claims: whose life this is, and what it owns."""

    incarnation: Incarnation = NEVER_REGISTERED
    term: int = 0  # of the last order obeyed
    sequence: int = 0
    enis: tuple[Eni, ...] = ()
    owned: tuple[tuple[IPv4Address, EniId], ...] = ()
    recalls: dict[str, tuple[tuple[IPv4Address, EniId], ...]] = field(default_factory=dict)
    capacity: Capacity | None = None  # as last told; nothing free, because that is soon past


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who has an `Immediate` address, or had it last."""

    pod: PodName | None
    pod_uid: PodUid | None
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooling:
    """An address that rests, and whose it was."""

    holding: Holding
    user: User


class PageKind(StrEnum):
    """What a page of the book is about."""

    NODE = "node"
    CLAIM = "claim"
    ATTACHMENT = "attachment"
    COOLING = "cooling"
    POD = "pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedPage:
    """A page that cannot be believed; its name still tells whose it was: the attachment's
    digest, the address that cooled, the pod's uid."""

    kind: PageKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """All that a book holds when an agent opens it."""

    node: NodeRecord
    claims: tuple[Claim, ...]
    attachments: tuple[Attachment, ...]
    cooling: tuple[Cooling, ...]
    pods: tuple[KnownPod, ...]
    damaged: tuple[DamagedPage, ...] = ()
    is_run_lost: bool = False  # what dies with the boot has died, and it is the same boot


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOwner:
    """What made the pod, and would make it again."""

    workload: WorkloadName
    pods_max: int | None  # at once, when their names are random; None: names that come back


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPod:
    """A pod as its source told it."""

    name: PodName
    uid: PodUid
    network: PodNetwork
    owner: PodOwner | None = None


class Book(Protocol):
    """Every call returns when the change survives a crash of this process.

    Claims and the node's record also survive a power cut; the rest dies with the boot.
    """

    def load(self) -> Saved: ...

    def note_whole(self) -> None:
        """What was lost is made up for, on disk: `is_run_lost` no more in this boot."""
        ...

    def remove_damaged(self, page: DamagedPage) -> None:
        """What it told is made up for, on disk, in other pages."""
        ...

    def save_node(self, record: NodeRecord) -> None: ...

    def save_claim(self, claim: Claim) -> None: ...

    def remove_claim(self, key: AttachmentKey) -> None: ...

    def save_attachment(self, attachment: Attachment) -> None: ...

    def remove_attachment(self, key: AttachmentKey) -> None: ...

    def save_cooling(self, cooling: Cooling) -> None: ...

    def remove_cooling(self, address: IPv4Address) -> None: ...

    def save_pod(self, pod: KnownPod) -> None: ...

    def remove_pod(self, uid: PodUid) -> None: ...


class PodSource(Protocol):
    """What a pod is. Unknown is PodUnknown, never a guess."""

    async def find(self, name: PodName, uid: PodUid | None) -> KnownPod:
        """Raises PodUnknown, Unavailable when it cannot be asked now, or InvalidInput for
        annotations that hold what is not allowed."""
        ...


class Runtime(Protocol):
    """The container runtime of this node."""

    async def sandboxes(self) -> frozenset[str]:
        """Ids of every sandbox, ready or not. Raises Unavailable."""
        ...


class Randomness(Protocol):
    """Where MAC addresses come from."""

    def randbytes(self, n: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAdd:
    """A pod whose last ADD did not succeed, and why."""

    pod: PodName
    network: str
    mode: NetworkMode
    code: str
    detail: str
    since: datetime
    last: datetime
    attempts: int
    subnets: tuple[SubnetId, ...] = ()  # that it names for its address
