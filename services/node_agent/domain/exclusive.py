"""The wire of a pod that has an ENI of its own (pure).

The ENI's link moves into the sandbox with its primary address and default route. A second veth
carries what only the node can serve: cluster addresses (the node translates them), the node's
own addresses, and link-local. What comes in by one of the two may be answered by the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from .attachments import Attachment, OwnEni
from .requests import POD_GATEWAY
from .wiring import EniLink, WiringRules

LINK_LOCAL: Final = IPv4Network("169.254.0.0/16")
_VETH: Final = "v"
_IFNAME_CHARACTERS_MAX: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxEni:
    """The ENI's link as it is to be in the sandbox, and the routes by the second veth."""

    mac: str
    ifname: str
    address: IPv4Interface
    gateway: IPv4Address
    veth_ifname: str
    veth_gateway: IPv4Address
    by_veth: tuple[IPv4Network, ...]


def own_eni(
    eni: EniLink, ifname: str, veth_mac: str, neighbours: Iterable[EniLink], rules: WiringRules
) -> OwnEni:
    """What the sandbox gets; `neighbours` are the ENIs whose addresses are the node's own."""
    node = (IPv4Network(each.eni.primary_address) for each in neighbours)
    return OwnEni(
        subnet_cidr=eni.eni.subnet_cidr,
        gateway=eni.eni.gateway,
        veth_ifname=veth_ifname(ifname),
        veth_mac=veth_mac,
        by_veth=(*rules.service_cidrs, *sorted(node), LINK_LOCAL),
    )


def veth_ifname(ifname: str) -> str:
    """Of the second link, in a sandbox whose ENI has this name."""
    return (_VETH + ifname)[:_IFNAME_CHARACTERS_MAX]


def sandbox_eni(attachment: Attachment) -> SandboxEni:
    own = attachment.own_eni
    assert own is not None, "only an exclusive attachment has an ENI of its own"
    return SandboxEni(
        mac=attachment.mac,
        ifname=attachment.key.ifname,
        address=IPv4Interface((attachment.address, own.subnet_cidr.prefixlen)),
        gateway=own.gateway,
        veth_ifname=own.veth_ifname,
        veth_gateway=POD_GATEWAY,
        by_veth=own.by_veth,
    )
