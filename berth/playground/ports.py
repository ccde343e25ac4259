"""Ports of the loopback: a free one, or the one asked for, checked before a server starts."""

from __future__ import annotations

import errno
import socket
from typing import Final

from shared.errors import Refused

LOOPBACK: Final = "127.0.0.1"


def take_port(wanted: int, option: str) -> int:
    """The port asked for, or a free one for 0. Raises Refused when it is in use.

    The port is free at this moment only: the server that binds it is the judge.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port whose last connections are still closing may be bound.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError as error:
            reason = "in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise Refused(
                f"{option}: port {wanted} of {LOOPBACK} is {reason}; 0 takes a free one"
            ) from error
        return int(probe.getsockname()[1])
