"""What every instance finds at known addresses: relays out of the VPC, and its own metadata."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from services.vpc_simulator.relay import Endpoint, Relay, RelayLimits
from shared.ids import InstanceId

METADATA_AT: Final[Endpoint] = ("169.254.0.23", 80)

_KEEP_ALIVE_S: Final = 5.0
_SHUTDOWN_TIMEOUT_S: Final = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Listen = Callable[[InstanceId, Endpoint], Awaitable[socket.socket]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayWanted:
    """Where it listens inside every instance, and what it leads to on the host."""

    listen: Endpoint
    target: Endpoint
    limits: RelayLimits = field(default_factory=RelayLimits)


class Offers:
    """Started for each instance when it is made, ended when it goes."""

    def __init__(
        self,
        listen: Listen,
        relays: Sequence[RelayWanted] = (),
        metadata: Handler | None = None,
    ) -> None:
        self._listen = listen
        self._wanted = tuple(relays)
        self._metadata = metadata
        self._relays: dict[InstanceId, list[Relay]] = {}
        self._sites: dict[InstanceId, web.AppRunner] = {}

    async def start(self, instance: InstanceId) -> None:
        for wanted in self._wanted:
            sock = await self._listen(instance, wanted.listen)
            self.keep(instance, await Relay.start(sock, wanted.target, wanted.limits))
        if self._metadata is not None:
            sock = await self._listen(instance, METADATA_AT)
            self._sites[instance] = await _serve(sock, instance, self._metadata)

    def keep(self, instance: InstanceId, relay: Relay) -> None:
        """End it with its instance."""
        self._relays.setdefault(instance, []).append(relay)

    def relays(self, instance: InstanceId) -> tuple[Relay, ...]:
        return tuple(self._relays.get(instance, ()))

    async def stop(self, instance: InstanceId) -> None:
        for relay in self._relays.pop(instance, []):
            await relay.aclose()
        site = self._sites.pop(instance, None)
        if site is not None:
            await site.cleanup()

    async def aclose(self) -> None:
        for instance in [*self._relays, *self._sites]:
            await self.stop(instance)


async def _serve(sock: socket.socket, instance: InstanceId, handler: Handler) -> web.AppRunner:
    """A site of one instance: the socket it came by tells who asks, nothing in the request."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request.match_info["instance"] = instance
        return await handler(request)

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", handle)])
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=_KEEP_ALIVE_S,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner
