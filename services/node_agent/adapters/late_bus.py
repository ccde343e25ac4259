"""A bus that may come late: a node that rebooted serves its stock while the bus is down."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final, TypeVar

from nats.aio.client import Client

from shared.bus.client import BusClient
from shared.bus.connection import close_bus, connect_bus
from shared.clock import Clock
from shared.errors import BerthError, NoAnswer
from shared.ids import NodeName
from shared.messages.base import Endpoint, Message, Request
from shared.settings import ServiceSettings
from shared.telemetry.health import Readiness

log = logging.getLogger(__name__)

Req = TypeVar("Req", bound=Request)
Out = TypeVar("Out", bound=Message)

_AGAIN_S: Final = 1.0


class LateBus:
    """Calls are Unavailable until the first connection, which is tried for ever."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        client_name: str,
        readiness: Readiness,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._client_name = client_name
        self._readiness = readiness
        self._clock = clock
        self._rng = rng
        self._client: BusClient | None = None
        self.nats: Client | None = None

    async def call(
        self, endpoint: Endpoint[Req, Out], request: Req, node: NodeName | None = None
    ) -> Out:
        if self._client is None:
            raise NoAnswer("bus: not connected yet")
        return await self._client.call(endpoint, request, node)

    async def connect(self) -> None:
        """One attempt. Raises Unavailable or Refused in one line that names the address."""
        nats = await connect_bus(
            self._settings, client_name=self._client_name, readiness=self._readiness
        )
        self.nats = nats
        self._client = BusClient(
            nats, cluster=self._settings.cluster, clock=self._clock, rng=self._rng
        )

    async def keep_trying(self) -> None:
        """Connect, however long it takes."""
        while self.nats is None:
            try:
                await self.connect()
            except BerthError as error:
                log.info("bus not reached yet", extra={"error": str(error)})
                await asyncio.sleep(_AGAIN_S)

    async def aclose(self) -> None:
        if self.nats is not None:
            await close_bus(self.nats)
