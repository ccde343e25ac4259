"""IPv4 addresses on links."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

from .conversation import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    Conversation,
    Request,
)
from .encoding import address_header, attributes, ipv4, u32

RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
_HEADER: Final = struct.Struct("=BBBBi")  # ifaddrmsg
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_FLAGS: Final = 8
_NO_PREFIX_ROUTE: Final = 0x200
_EXISTS: Final = frozenset({errno.EEXIST})
_MISSING: Final = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})


@dataclass(frozen=True, slots=True, order=True)
class LinkAddress:
    index: int
    address: IPv4Interface


def add_address(index: int, address: IPv4Interface, *, with_route: bool = True) -> Request:
    """One that is there already is fine. Without route, the subnet is not reached by it."""
    message = _address(index, address)
    if not with_route:
        message += u32(_IFA_FLAGS, _NO_PREFIX_ROUTE)
    return Request(
        what=f"add address {address} to link {index}",
        kind=RTM_NEWADDR,
        flags=NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
        message=message,
        forgiven=_EXISTS,
    )


def delete_address(index: int, address: IPv4Interface) -> Request:
    """One that is not there is fine."""
    return Request(
        what=f"delete address {address} of link {index}",
        kind=RTM_DELADDR,
        flags=NLM_F_REQUEST | NLM_F_ACK,
        message=_address(index, address),
        forgiven=_MISSING,
    )


def link_addresses(conversation: Conversation) -> list[LinkAddress]:
    """Every IPv4 address of the namespace."""
    return [read_link_address(message) for message in dump_addresses(conversation)]


def dump_addresses(conversation: Conversation) -> list[bytes]:
    return conversation.dump(RTM_GETADDR, address_header(socket.AF_INET, 0, 0))


def read_link_address(message: bytes) -> LinkAddress:
    _, prefix_length, _, _, index = _HEADER.unpack_from(message)
    has = attributes(message, _HEADER.size)
    address = IPv4Address(has.get(_IFA_LOCAL) or has[_IFA_ADDRESS])
    return LinkAddress(index, IPv4Interface((address, prefix_length)))


def _address(index: int, address: IPv4Interface) -> bytes:
    header = address_header(socket.AF_INET, address.network.prefixlen, index)
    return header + ipv4(_IFA_LOCAL, address.ip) + ipv4(_IFA_ADDRESS, address.ip)
