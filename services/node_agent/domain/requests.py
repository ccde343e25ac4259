"""What the runtime asks of the agent, parsed once: the CNI face in front, the use cases behind.

`cni/` makes these out of the plugin's bytes and turns the answers into results by cniVersion;
`service.py` implements `Attachments`. Neither knows the other's insides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from typing import Final, Protocol

from shared.annotations import NetworkMode
from shared.errors import Unavailable
from shared.ids import AttachmentKey, PodName, PodUid

POD_GATEWAY: Final = IPv4Address("169.254.1.1")  # every pod's next hop: its host veth


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Wire one interface of one sandbox."""

    key: AttachmentKey
    pod: PodName | None  # None: the caller names no pod (cnitool, podman)
    pod_uid: PodUid | None
    netns_fd: int  # open for the length of the call; the caller closes it
    netns_path: str
    mode: NetworkMode | None  # of the CNI configuration; None: from the pod
    is_pod_known: bool  # False with "podSource": "none": every attachment is Immediate
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondLink:
    """The sandbox's end of the veth, when the address itself is on an ENI."""

    ifname: str
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """The wire of one attachment, as it now stands in the kernel."""

    host_ifname: str
    host_mac: str
    ifname: str
    mac: str
    mtu: int
    address: IPv4Address
    gateway: IPv4Address
    prefix_length: int = 32
    second: SecondLink | None = None  # beside an ENI of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Compare the kernel with what ADD made."""

    key: AttachmentKey
    netns_fd: int
    address: IPv4Address | None  # of the runtime's prevResult, if it holds one


class PodsCutOff(Unavailable):
    """Raised by STATUS when no ADD can be served and pods that are there lost their ENI too."""


class Attachments(Protocol):
    """The verbs. Every refusal is a BerthError; DEL refuses nothing but bad input."""

    async def add(self, request: Add) -> Wired:
        """Allocate and wire. The same key again: the same answer, the kernel looked at."""
        ...

    async def delete(self, key: AttachmentKey) -> None:
        """Unwire and give back. Unknown, repeated and late keys succeed."""
        ...

    async def check(self, request: Check) -> None:
        """Raise when link, address, route, rule or lease is missing or wrong."""
        ...

    async def status(self) -> None:
        """Raise when an ADD could not be served."""
        ...

    async def collect(self, network: str, valid: frozenset[AttachmentKey]) -> None:
        """Unwire every attachment of this network that is not among the valid ones."""
        ...
