"""Packets sent from inside a namespace, without any tool of the system."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from ipaddress import IPv4Address
from typing import Final

from shared.kernel.netns import socket_in

_ECHO_REQUEST: Final = 8
_ECHO_REPLY: Final = 0
_IP_HEADER_BYTES: Final = 20


def ping(
    netns: int, to: IPv4Address, *, source: IPv4Address | None = None, timeout_s: float = 0.6
) -> float | None:
    """Seconds until one echo was answered; None when it was not, or could not be sent."""
    number = int.from_bytes(os.urandom(2), "big")
    deadline = time.monotonic() + timeout_s
    began = time.monotonic()
    with socket_in(netns, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        if source is not None:
            sock.bind((str(source), 0))
        try:
            sock.sendto(_echo(number), (str(to), 0))
        except OSError:
            return None
        while (left_s := deadline - time.monotonic()) > 0:
            if not select.select([sock], [], [], left_s)[0]:
                return None
            try:
                packet, sender = sock.recvfrom(2048)
            except OSError:  # the kernel passes "unreachable" on as an error
                return None
            kind, _, _, found, _ = struct.unpack_from(">BBHHH", packet, _IP_HEADER_BYTES)
            if kind == _ECHO_REPLY and found == number and sender[0] == str(to):
                return time.monotonic() - began
    return None


def udp_at(netns: int, address: IPv4Address, port: int = 0) -> socket.socket:
    """A bound datagram socket inside a namespace."""
    sock = socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((str(address), port))
    return sock


def receives(sock: socket.socket, *, timeout_s: float = 1.0) -> bytes | None:
    """The next datagram; None when none came."""
    if not select.select([sock], [], [], timeout_s)[0]:
        return None
    return sock.recv(2048)


def _echo(number: int) -> bytes:
    def packed(checksum: int) -> bytes:
        return struct.pack(">BBHHH", _ECHO_REQUEST, 0, checksum, number, 1)

    total = sum(struct.unpack(">4H", packed(0)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return packed(~total & 0xFFFF)
