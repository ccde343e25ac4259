"""One netlink socket of one namespace: batches of requests out, every acknowledgement in.

Messages come as bytes (encoding.py; from pyroute2 where only the simulated network says them).
The conversation is ours, because a batch in one write, of which only refusals and the last
acknowledgement come back, takes a quarter of the time of single calls.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from .netns import socket_in

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_EXCL: Final = 0x200
NLM_F_REPLACE: Final = 0x100
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLM_F_DUMP: Final = 0x300

_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_F_DUMP_INTR: Final = 0x10
HEADER: Final = struct.Struct("=IHHII")
_RECEIVE_BYTES: Final = 1 << 18
_ACK_BYTES: Final = 1 << 13
_TIMEOUT: Final = struct.pack("@ll", 10, 0)  # seconds and microseconds
_ACK: Final = struct.Struct("=IHHIIi")  # a header and an errno
_DUMP_ATTEMPTS_MAX: Final = 5
_BATCH_MAX: Final = 256


class NetlinkError(OSError):
    """The kernel refused a request; `errno` says why, the text says which."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(number, f"{what}: {os.strerror(number)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message of a batch, with the refusals that count as done."""

    what: str  # for the error text: "add route 10.0.0.9/32"
    kind: int  # RTM_NEWLINK …
    flags: int
    message: bytes  # without its header
    forgiven: frozenset[int] = field(default=frozenset())  # errnos

    def encode(self, sequence: int, *, is_acknowledged: bool = True) -> bytes:
        flags = self.flags if is_acknowledged else self.flags & ~NLM_F_ACK
        length = HEADER.size + len(self.message)
        return HEADER.pack(length, self.kind, flags, sequence, 0) + self.message


class Conversation:
    """A netlink socket. `netns` None: the calling thread's own namespace.

    `home` is a descriptor of that own namespace, for who makes many conversations elsewhere.
    """

    def __init__(
        self, netns: int | None = None, *, family: int = 0, home: int | None = None
    ) -> None:
        self._socket = socket_in(netns, socket.AF_NETLINK, socket.SOCK_RAW, family, home=home)
        # The kernel's own time-outs: Python's ask before each call whether it may be made.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEOUT)
        self._socket.bind((0, 0))
        self._sequence = 0

    @property
    def port(self) -> int:
        """Who the kernel names as the author of what is changed over this conversation."""
        return int(self._socket.getsockname()[0])

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def do(self, requests: Sequence[Request]) -> None:
        """Send all, in order. Raises the first refusal that is not forgiven.

        The kernel works a batch off message by message and does not stop at a refusal: later
        messages may have been done when this raises.
        """
        for request, number in zip(requests, self.try_all(requests), strict=True):
            if number and number not in request.forgiven:
                raise NetlinkError(number, request.what)

    def try_all(self, requests: Sequence[Request]) -> list[int]:
        """Send all, in order; one errno for each, 0 when it was done."""
        results: list[int] = []
        for start in range(0, len(requests), _BATCH_MAX):
            results += self._exchange(requests[start : start + _BATCH_MAX])
        return results

    def _exchange(self, requests: Sequence[Request]) -> list[int]:
        """Refusals are always answered; of what was done only the last is acknowledged."""
        first = self._sequence + 1
        self._sequence += len(requests)
        last = len(requests) - 1
        self._socket.send(
            b"".join(
                request.encode(first + index, is_acknowledged=index == last)
                for index, request in enumerate(requests)
            )
        )
        results = [0] * len(requests)
        while True:
            data = self._socket.recv(_ACK_BYTES)
            _, kind, _, sequence, _, number = _ACK.unpack_from(data)
            if kind != _NLMSG_ERROR or not first <= sequence <= self._sequence:
                continue
            results[sequence - first] = -number
            if sequence == self._sequence:
                return results

    def dump(self, kind: int, message: bytes) -> list[bytes]:
        """Every object of a kind, each message without its header."""
        for _ in range(_DUMP_ATTEMPTS_MAX):
            self._sequence += 1
            request = Request(
                what="dump", kind=kind, flags=NLM_F_REQUEST | NLM_F_DUMP, message=message
            )
            self._socket.send(request.encode(self._sequence))
            found, was_interrupted = self._collect()
            if not was_interrupted:
                return found
        raise NetlinkError(errno.EINTR, "dump: the tables changed during every attempt")

    def _collect(self) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        was_interrupted = False
        while True:
            data = self._socket.recv(_RECEIVE_BYTES)
            for kind, flags, sequence, body in split_messages(data):
                if sequence != self._sequence:
                    continue
                was_interrupted |= bool(flags & _F_DUMP_INTR)
                if kind == _NLMSG_DONE:
                    return found, was_interrupted
                if kind == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise NetlinkError(number, "dump")
                found.append(body)


def split_messages(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, body) of each message of a datagram."""
    found = []
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            break
        found.append((kind, flags, sequence, data[offset + HEADER.size : offset + length]))
        offset += (length + 3) & ~3
    return found
