"""One gRPC call over a Unix socket: how kubelet and the container runtime are asked.

Each call is a connection of its own: both are asked seldom, both restart, and a connection that
is kept would have to find that out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from shared.errors import Unavailable

_ANSWER_BYTES_MAX: Final = 16 << 20  # what kubelet itself takes of a runtime
_OPTIONS: Final = (("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),)


async def ask_unix(socket: Path, method: str, request: bytes, *, timeout_s: float) -> bytes:
    """The answer's bytes. Raises Unavailable, whatever the reason."""
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS) as channel:
        call = channel.unary_unary(method)
        try:
            answer: bytes = await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{socket}: {method}: {error.details()}") from error
    return answer
