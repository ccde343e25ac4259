"""Whole messages, with file descriptors, between the simulator and its worker.

A SOCK_SEQPACKET pair keeps messages apart, so a reader never sees half of one; each is JSON and
bounded. A read of nothing means that the other side has ended.
"""

from __future__ import annotations

import os
import socket
from typing import Final

MESSAGE_BYTES_MAX: Final = 64 * 1024  # an ENI with 256 addresses is 5 KiB
DESCRIPTORS_MAX: Final = 4


class ChannelClosed(Exception):
    """Raised when the other side has ended."""


class Channel:
    """One end. Never blocks; `receive` raises BlockingIOError when there is nothing."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """This side's end, and the socket to hand to the other side."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(mine), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        if len(message) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message of {len(message)} bytes exceeds {MESSAGE_BYTES_MAX}")
        try:
            socket.send_fds(self._socket, [message], list(descriptors))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed from error

    def receive(self) -> tuple[bytes, list[int]]:
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self._socket, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError as error:
            raise ChannelClosed from error
        if not message:
            raise ChannelClosed
        return message, descriptors


def close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
