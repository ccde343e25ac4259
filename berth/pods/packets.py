"""ICMP echo and UDP packets as bytes (pure): what probes send and what they look for."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

_ECHO_REQUEST: Final = 8
_ECHO_REPLY: Final = 0
_ICMP: Final = struct.Struct("!BBHHH")
_IP: Final = struct.Struct("!BBHHHBBH4s4s")
_UDP: Final = struct.Struct("!HHHH")
_TTL: Final = 64
_PROTOCOL_UDP: Final = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoReply:
    source: IPv4Address
    identifier: int
    sequence: int
    payload: bytes


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(identifier: int, sequence: int, payload: bytes) -> bytes:
    header = _ICMP.pack(_ECHO_REQUEST, 0, 0, identifier, sequence)
    total = checksum(header + payload)
    return _ICMP.pack(_ECHO_REQUEST, 0, total, identifier, sequence) + payload


def parse_echo_reply(packet: bytes) -> EchoReply | None:
    """Out of what a raw ICMP socket receives, IP header included; None for anything else."""
    header_bytes = (packet[0] & 0xF) * 4 if packet else 0
    if len(packet) < max(header_bytes, _IP.size) + _ICMP.size:
        return None
    kind, _, _, identifier, sequence = _ICMP.unpack_from(packet, header_bytes)
    if kind != _ECHO_REPLY:
        return None
    return EchoReply(
        source=IPv4Address(packet[12:16]),
        identifier=identifier,
        sequence=sequence,
        payload=packet[header_bytes + _ICMP.size :],
    )


def udp_packet(
    source: IPv4Address, destination: IPv4Address, *, from_port: int, to_port: int, body: bytes
) -> bytes:
    """A whole IP packet, so that its source may be one that is not the sender's."""
    datagram = _UDP.pack(from_port, to_port, _UDP.size + len(body), 0) + body
    pseudo = (
        source.packed + destination.packed + struct.pack("!HH", _PROTOCOL_UDP, len(datagram))
    )
    total = checksum(pseudo + datagram) or 0xFFFF  # 0 would say "no checksum"
    datagram = _UDP.pack(from_port, to_port, _UDP.size + len(body), total) + body
    header = _IP.pack(
        0x45, 0, _IP.size + len(datagram), 0, 0, _TTL, _PROTOCOL_UDP, 0,
        source.packed, destination.packed,
    )  # fmt: skip
    return header + datagram  # the kernel fills in the identification and the checksum
