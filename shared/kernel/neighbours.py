"""Permanent neighbours: whose MAC an address has, without asking; and who answers ARP when."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from .conversation import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    Conversation,
    Request,
)
from .encoding import attributes, ipv4, mac, neighbour_header

RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RTM_GETNEIGH: Final = 30
_HEADER: Final = struct.Struct("=BxxxiHBB")  # ndmsg
_NDA_DST: Final = 1
_NDA_LLADDR: Final = 2
_PERMANENT: Final = 0x80
_PROXY: Final = 0x08
_MISSING: Final = frozenset({errno.ENOENT, errno.ENODEV})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Neighbour:
    link: int  # index
    address: IPv4Address
    mac: str


def add_neighbour(neighbour: Neighbour) -> Request:
    """Made, or put in the place of what was known of the address."""
    message = _neighbour(neighbour.link, neighbour.address, state=_PERMANENT)
    message += mac(_NDA_LLADDR, neighbour.mac)
    return Request(
        what=f"add neighbour {neighbour.address} on link {neighbour.link}",
        kind=RTM_NEWNEIGH,
        flags=NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        message=message,
    )


def delete_neighbour(link: int, address: IPv4Address) -> Request:
    """One that is not there is fine."""
    return Request(
        what=f"delete neighbour {address} of link {link}",
        kind=RTM_DELNEIGH,
        flags=NLM_F_REQUEST | NLM_F_ACK,
        message=_neighbour(link, address),
        forgiven=_MISSING,
    )


def neighbours(conversation: Conversation) -> list[Neighbour]:
    """Every permanent IPv4 neighbour of the namespace."""
    wanted = neighbour_header(socket.AF_INET, 0)
    found = []
    for message in conversation.dump(RTM_GETNEIGH, wanted):
        _, index, state, flags, _ = _HEADER.unpack_from(message)
        if state != _PERMANENT or flags & _PROXY:
            continue
        has = attributes(message, _HEADER.size)
        address, lladdr = IPv4Address(has[_NDA_DST]), has.get(_NDA_LLADDR, b"")
        found.append(Neighbour(link=index, address=address, mac=lladdr.hex(":")))
    return found


def _neighbour(link: int, address: IPv4Address, *, state: int = 0) -> bytes:
    return neighbour_header(socket.AF_INET, link, state=state) + ipv4(_NDA_DST, address)
