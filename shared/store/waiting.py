"""Pools in which a command waits for a connection, where redis-py's own refuse it at once.

A thousand tasks then share a few connections. The wait is bounded as a command is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ConnectionError as NoConnection


class WaitingPool(ConnectionPool):
    """At most `max_connections` are out at once, others wait their turn."""

    def __init__(self, *args: Any, wait_s: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._wait_s = wait_s
        self._turns = asyncio.Semaphore(options["max_connections"])

    async def get_connection(self, *args: Any, **options: Any) -> AbstractConnection:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise NoConnection(f"no connection came free within {self._wait_s:g} s") from None
        try:
            found: AbstractConnection = await super().get_connection(*args, **options)  # type: ignore[no-untyped-call] # redis-py's own
        except BaseException:
            self._turns.release()
            raise
        return found

    async def release(self, connection: AbstractConnection) -> None:
        try:
            await super().release(connection)
        finally:
            self._turns.release()


class WaitingSentinelPool(WaitingPool, SentinelConnectionPool):
    """The same before a pool of the master that sentinels, or a cluster's members, name."""
