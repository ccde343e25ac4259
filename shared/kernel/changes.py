"""The kernel tells when objects of a namespace are no longer as they were."""

from __future__ import annotations

import asyncio
import socket
from enum import Enum
from typing import Final

from .netns import socket_in

_RECEIVE_BYTES: Final = 1 << 16


class Kind(Enum):
    """Kinds of objects, each with the group that tells of its changes."""

    LINK = 1 << 0  # RTMGRP_LINK
    ADDRESS = 1 << 4  # RTMGRP_IPV4_IFADDR
    ROUTE = 1 << 6  # RTMGRP_IPV4_ROUTE
    RULE = 1 << 7  # RTMGRP_IPV4_RULE


class Changes:
    """Sets `changed` whenever one of the kinds changed. Closes with its block or `close`."""

    def __init__(self, *kinds: Kind, netns: int | None = None) -> None:
        self._socket = socket_in(netns, socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.setblocking(False)
        self._socket.bind((0, sum(kind.value for kind in kinds)))
        self.changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._drain)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _drain(self) -> None:
        # What changed is not read from the messages: whoever waits compares the whole.
        try:
            while self._socket.recv(_RECEIVE_BYTES):
                self.changed.set()
        except BlockingIOError:
            return
        except OSError:
            self.changed.set()  # the kernel dropped messages: something changed
