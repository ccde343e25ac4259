"""Length-prefixed frames on a stream: four bytes, big-endian, then the body. Bounded."""

from __future__ import annotations

import asyncio
from typing import Final

FRAME_BYTES_MAX: Final = 256 << 10
_PREFIX_BYTES: Final = 4


class FrameTooLong(ConnectionError):
    """The peer sent, or was about to be sent, more than a frame may hold."""


def framed(body: bytes) -> bytes:
    if len(body) > FRAME_BYTES_MAX:
        raise FrameTooLong(f"a frame of {len(body)} bytes; allowed: {FRAME_BYTES_MAX}")
    return len(body).to_bytes(_PREFIX_BYTES, "big") + body


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame, or None when the peer closed between two."""
    try:
        prefix = await reader.readexactly(_PREFIX_BYTES)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ConnectionResetError("the peer closed within a frame") from error
        return None
    length = int.from_bytes(prefix, "big")
    if length > FRAME_BYTES_MAX:
        raise FrameTooLong(f"a frame of {length} bytes; allowed: {FRAME_BYTES_MAX}")
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the peer closed within a frame") from error
