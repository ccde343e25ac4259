"""A TCP relay between one client and one server on the loopback: where the network fails."""

from __future__ import annotations

import socket
from typing import Final

from services.vpc_simulator.relay import Relay, RelayLimits

_LIMITS: Final = RelayLimits(close_timeout_s=1.0)
_LOOPBACK: Final = "127.0.0.1"


class Link:
    """One client's way to one server."""

    def __init__(self, relay: Relay, port: int) -> None:
        self.relay = relay
        self.port = port

    @classmethod
    async def start(cls, target_port: int) -> Link:
        listening = socket.create_server((_LOOPBACK, 0))
        listening.setblocking(False)
        port = int(listening.getsockname()[1])
        relay = await Relay.start(listening, (_LOOPBACK, target_port), _LIMITS)
        return cls(relay, port)

    def url(self, scheme: str) -> str:
        return f"{scheme}://{_LOOPBACK}:{self.port}"

    def heal(self) -> None:
        self.relay.heal()
        self.relay.delay(0)

    async def aclose(self) -> None:
        await self.relay.aclose()
