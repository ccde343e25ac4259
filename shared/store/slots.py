"""A Redis Cluster: all keys of one Berth cluster are one slot, and its owner is spoken to.

Each new connection asks the members in turn who owns the slot, so a fail-over and a slot that
moves are followed by whoever repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.sentinel import MasterNotFoundError, SentinelManagedConnection
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as NoConnection

from shared.store.encrypted import EncryptedConnection

_ELSEWHERE: Final = (AskError, ClusterDownError, TryAgainError)  # MOVED is an AskError


class SlotOwner:
    """In the place of redis-py's Sentinel: it names the server of a slot."""

    def __init__(self, members: Mapping[tuple[str, int], redis.Redis], *, key: str) -> None:
        """`key`: any of that slot."""
        self._members = members
        self._slot = key_slot(key.encode())

    async def discover_master(self, _: str) -> tuple[str, int]:
        """Raises MasterNotFoundError, a ConnectionError: no member knows an owner."""
        said = []
        for (host, port), member in self._members.items():
            try:
                ranges = await member.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call] # redis-py's own
            except (RedisError, OSError) as error:
                said.append(f"{host}:{port}: {error}")
                continue
            for first, last, (owner, its_port, *_), *_ in ranges:
                if first <= self._slot <= last:
                    return _text(owner) or host, int(its_port)
            said.append(f"{host}:{port}: nobody owns slot {self._slot}")
        raise MasterNotFoundError("; ".join(said))

    async def aclose(self) -> None:
        await asyncio.gather(*(each.aclose() for each in self._members.values()))


class SlotConnection(SentinelManagedConnection):
    """To the owner of the slot, for as long as it is that."""

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except _ELSEWHERE as error:
            await self.disconnect()  # the next connection asks anew
            raise NoConnection(f"the slot is not here any more: {error}") from error


class EncryptedSlotConnection(SlotConnection, EncryptedConnection):
    """The same over TLS."""


def _text(name: bytes | str | None) -> str:
    """Members that do not know their own name say nothing or "?"."""
    text = name.decode() if isinstance(name, bytes) else name or ""
    return "" if text == "?" else text
