"""The kernel tells when objects of a namespace are no longer as they were."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Collection
from enum import Enum
from typing import Final

from .links import RTM_DELLINK, RTM_NEWLINK, link_name
from .netns import socket_in

_RECEIVE_BYTES: Final = 1 << 16
_HEADER: Final = struct.Struct("=IHHII")


class Kind(Enum):
    """Kinds of objects, each with the group that tells of its changes."""

    LINK = 1 << 0  # RTMGRP_LINK
    ADDRESS = 1 << 4  # RTMGRP_IPV4_IFADDR
    ROUTE = 1 << 6  # RTMGRP_IPV4_ROUTE
    RULE = 1 << 7  # RTMGRP_IPV4_RULE


class Changes:
    """Sets `changed` whenever one of the kinds changed. Closes with its block or `close`.

    What was changed over one of the conversations `own` (their ports) is no news, nor are
    links whose name `is_expected` knows.
    """

    def __init__(
        self,
        *kinds: Kind,
        netns: int | None = None,
        own: Collection[int] = (),
        is_expected: Callable[[str], bool] | None = None,
    ) -> None:
        self._own = frozenset(own)
        self._is_expected = is_expected
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
            while data := self._socket.recv(_RECEIVE_BYTES):
                if not self.changed.is_set() and self._is_news(data):
                    self.changed.set()
        except BlockingIOError:
            return
        except OSError:
            self.changed.set()  # the kernel dropped messages: something changed

    def _is_news(self, data: bytes) -> bool:
        """A notice is a datagram of its own."""
        _, kind, _, _, port = _HEADER.unpack_from(data)
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            return self._is_expected is None or not self._is_expected(
                link_name(data[_HEADER.size :])
            )
        return port not in self._own
