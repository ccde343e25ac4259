"""Connections that the kernel tracks, forgotten by address.

An address that another pod gets must bring none of its last pod's connections along: a packet
of one would be let through, or translated, for the new pod.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address
from typing import Final

from .conversation import NLM_F_ACK, NLM_F_REQUEST, Conversation, Request

NETFILTER: Final = 12  # the netlink family
_SUBSYSTEM: Final = 1 << 8  # ctnetlink
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_IPV4_HEAD: Final = struct.pack("=BBH", socket.AF_INET, 0, 0)
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _ZONE = 1, 2, 12, 18
_TUPLE_IP: Final = 1
_IP_SOURCE, _IP_DESTINATION = 1, 2
_KIND_BITS: Final = 0x3FFF
_ATTRIBUTE: Final = struct.Struct("=HH")


def forget_connections(conversation: Conversation, addresses: Collection[IPv4Address]) -> int:
    """Drop every connection that has one of the addresses on either side; how many there were.

    `conversation` is one of the family NETFILTER, in the namespace whose table it is.
    """
    found = [
        attributes
        for body in conversation.dump(_GET, _IPV4_HEAD)
        if not _addresses(attributes := body[len(_IPV4_HEAD) :]).isdisjoint(addresses)
    ]
    conversation.do([_deletion(attributes) for attributes in found])
    return len(found)


def connections_of(conversation: Conversation, address: IPv4Address) -> int:
    """How many connections have the address on either side."""
    bodies = conversation.dump(_GET, _IPV4_HEAD)
    return sum(address in _addresses(body[len(_IPV4_HEAD) :]) for body in bodies)


def _deletion(attributes: bytes) -> Request:
    """The very connection that was seen: its tuple, its id, its zone."""
    named = b"".join(
        whole for kind, whole, _ in _walk(attributes) if kind in (_TUPLE_ORIGINAL, _ID, _ZONE)
    )
    return Request(
        what="forget a connection",
        kind=_DELETE,
        flags=NLM_F_REQUEST | NLM_F_ACK,
        message=_IPV4_HEAD + named,
        forgiven=frozenset({errno.ENOENT}),  # it ended by itself
    )


def _addresses(attributes: bytes) -> set[IPv4Address]:
    """Of both directions: they differ where the address is translated."""
    found = set()
    for kind, _, value in _walk(attributes):
        if kind not in (_TUPLE_ORIGINAL, _TUPLE_REPLY):
            continue
        for part, _, inner in _walk(value):
            if part == _TUPLE_IP:
                found |= {
                    IPv4Address(ip)
                    for side, _, ip in _walk(inner)
                    if side in (_IP_SOURCE, _IP_DESTINATION)
                }
    return found


def _walk(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each attribute: its kind, all of it with its padding, its value."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        end = at + length + (-length % 4)
        yield kind & _KIND_BITS, data[at:end], data[at + _ATTRIBUTE.size : at + length]
        at = end
