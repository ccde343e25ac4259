"""Attributes of nftables' messages: numbers in network order, nests marked as such."""

from __future__ import annotations

import struct
from collections.abc import Iterable

Expression = bytes


def attribute(kind: int, value: bytes, *, nested: bool = False) -> bytes:
    length = 4 + len(value)
    head = struct.pack("=HH", length, kind | (0x8000 if nested else 0))
    return head + value + b"\0" * (-length % 4)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFF_FFFF))


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind, b"".join(parts), nested=True)


def value(kind: int, data: bytes) -> bytes:
    return nest(kind, attribute(1, data))


def expression(name: str, *parts: bytes) -> Expression:
    return nest(1, text(1, name), nest(2, *parts))


def read(data: bytes) -> dict[int, bytes]:
    """The attributes of a level by their number; of several with one number the last."""
    return dict(walk(data))


def walk(data: bytes) -> Iterable[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
