"""Carries TCP between two network namespaces: a process with sockets on both sides.

Its listening socket was made inside an instance; the target is out here. This is also where
tests take the network of an instance away: `partition`, `heal`, `delay`, `cut`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from shared.ids import InstanceId

log = logging.getLogger(__name__)

Endpoint = tuple[str, int]  # IPv4 address, TCP port
RelaysOf = Callable[[InstanceId], Sequence["Relay"]]

_CHUNK_BYTES: Final = 64 * 1024
_NO_LINGER: Final = struct.pack("ii", 1, 0)

_Direction = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Way(StrEnum):
    IN = "in"  # from who connected to the target
    OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    connections_max: int = 256  # more are closed at once
    connect_timeout_s: float = 5.0
    close_timeout_s: float = 5.0  # for the last bytes to go out
    buffer_bytes: int = 256 * 1024  # of a connection, each way


class Relay:
    """One listening socket and its connections. Made by `start`, ended by `aclose`."""

    def __init__(self, listen: Endpoint, target: Endpoint, limits: RelayLimits) -> None:
        self.listen = listen
        self._target = target
        self._limits = limits
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._gates = {way: asyncio.Event() for way in Way}
        self.heal()
        self.delay_s = 0.0

    @classmethod
    async def start(
        cls, listening: socket.socket, target: Endpoint, limits: RelayLimits
    ) -> Self:
        """The relay owns the socket from here on."""
        relay = cls(listening.getsockname(), target, limits)
        relay._server = await asyncio.start_server(
            relay._accept, sock=listening, limit=limits.buffer_bytes
        )
        return relay

    @property
    def is_partitioned(self) -> bool:
        return not all(gate.is_set() for gate in self._gates.values())

    @property
    def connections(self) -> int:
        return len(self._connections)

    def partition(self, *ways: Way) -> None:
        """Nothing gets through, or not these ways, and nobody is told: a cable is out."""
        for way in ways or Way:
            self._gates[way].clear()

    def heal(self) -> None:
        """What was sent meanwhile arrives now."""
        for gate in self._gates.values():
            gate.set()

    def delay(self, seconds: float) -> None:
        """Keep every piece back so long, in both directions; 0 ends it."""
        self.delay_s = seconds

    async def cut(self) -> None:
        """Reset every connection there is; new ones are welcome."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        await self.cut()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.connections_max:
            log.warning("too many connections", extra={"target": self._target})
            writer.transport.abort()
            return
        name = f"relay-{self._target[0]}:{self._target[1]}"
        connection = asyncio.create_task(self._carry(reader, writer), name=name)
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            await self._gates[Way.IN].wait()
            async with asyncio.timeout(self._limits.connect_timeout_s):
                far_reader, far_writer = await asyncio.open_connection(
                    *self._target, limit=self._limits.buffer_bytes
                )
            ends.append(far_writer)
            await self._pump_both((reader, far_writer), (far_reader, writer))
            for end in ends:
                end.close()
            async with asyncio.timeout(self._limits.close_timeout_s):
                await asyncio.gather(*(end.wait_closed() for end in ends))
        except (OSError, TimeoutError) as error:
            log.info("a connection failed", extra={"target": self._target, "why": str(error)})
        finally:
            # Whatever is still open did not end in good order: the other side shall know.
            for end in ends:
                _reset(end)

    async def _pump_both(self, one: _Direction, other: _Direction) -> None:
        pumps = [
            asyncio.ensure_future(self._pump(*each, gate))
            for each, gate in zip((one, other), self._gates.values(), strict=True)
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        """One direction, until its sender has no more; the other one goes on."""
        while data := await reader.read(_CHUNK_BYTES):
            await self._hold(gate)
            writer.write(data)
            await writer.drain()
        await self._hold(gate)
        writer.write_eof()

    async def _hold(self, gate: asyncio.Event) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        await gate.wait()


def _reset(end: asyncio.StreamWriter) -> None:
    """End a connection by RST; of one that is closed already, nothing is left to end."""
    if not end.transport.is_closing():
        sock: socket.socket = end.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    end.transport.abort()
