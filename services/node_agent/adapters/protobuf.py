"""Protobuf's wire format, as much as the small messages of kubelet and the runtime need.

The messages used here have a handful of fields, so they are read and written by number; a code
generator and its run-time library would cost the agent more memory than all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shared.errors import InvalidInput

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES_MAX: Final = 10
_UINT64: Final = (1 << 64) - 1


def encode(*fields: tuple[int, int | str | bytes]) -> bytes:
    """Fields by number, in the order given; a repeated field is given repeatedly."""
    return b"".join(_field(number, value) for number, value in fields)


class Fields:
    """One decoded message. What is absent is empty or zero, as proto3 has it."""

    def __init__(self, data: bytes) -> None:
        """Raises InvalidInput for what is no message."""
        self._values: dict[int, list[int | bytes]] = {}
        for number, value in _fields(data):
            self._values.setdefault(number, []).append(value)

    def number(self, field: int) -> int:
        values = [each for each in self._values.get(field, ()) if isinstance(each, int)]
        return values[-1] if values else 0

    def text(self, field: int) -> str:
        texts = self.texts(field)
        return texts[-1] if texts else ""

    def texts(self, field: int) -> list[str]:
        try:
            return [each.decode() for each in self._bytes(field)]
        except UnicodeDecodeError as error:
            raise InvalidInput(f"protobuf field {field} is not UTF-8") from error

    def message(self, field: int) -> Fields:
        return Fields(b"".join(self._bytes(field)))  # parts of one message merge

    def messages(self, field: int) -> list[Fields]:
        return [Fields(each) for each in self._bytes(field)]

    def _bytes(self, field: int) -> Iterator[bytes]:
        return (each for each in self._values.get(field, ()) if isinstance(each, bytes))


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value & _UINT64)
    body = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise InvalidInput.of("protobuf wire type", kind, "0, 1, 2 and 5")
        if size > len(data) - at:
            raise InvalidInput(f"protobuf field {number} ends after the message")
        yield number, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for position, byte in enumerate(data[at : at + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return value & _UINT64, at + position + 1
    raise InvalidInput("protobuf: a number does not end")
