"""Whether the store keeps what it acknowledges, and has room for more.

A store that may evict keys, skip a flush or be without an append-only file loses leases without
a word; one at its limit refuses, and says so.
"""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from shared.errors import Refused, StorageFull, TryLater, Unavailable

_FULL_AT: Final = 0.95  # of maxmemory: what is under way still fits into the rest

# Each with what it must be for an answer to survive a power cut of the store's machine.
_REQUIRED: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",  # else nothing is flushed while the file is rewritten
}
# What the store says when it has done nothing: full, or unable to save.
_NOTHING_DONE: Final = ("OOM ", "MISCONF ")


class RedisHealth:
    """The settings and the room of the server that this process is connected to."""

    def __init__(self, store: Redis, *, is_durable: bool) -> None:
        self._store = store
        self._is_durable = is_durable

    async def check_settings(self) -> None:
        """Raise Refused when an acknowledged lease could be lost."""
        if not self._is_durable:  # the setting `durability: memory` accepts it
            return
        try:
            settings = await self._store.config_get(*_REQUIRED, "maxmemory*")
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store's persistence settings: {error}") from error
        found = {str(name): str(value) for name, value in settings.items()}
        required = dict(_REQUIRED)
        if found.get("maxmemory", "0") != "0":
            required["maxmemory-policy"] = "noeviction"
        wrong = {name for name, value in required.items() if found.get(name) != value}
        if wrong:
            raise Refused(
                f"the store has {_told(found, wrong)}: an acknowledged lease could be lost;"
                f" set {_told(required, wrong)}, or the setting durability to memory"
            )

    async def check_room(self) -> None:
        """Raise StorageFull while there is room for little more than what is under way."""
        try:
            memory = await self._store.info("memory")
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        limit = int(memory.get("maxmemory", 0))
        used = int(memory["used_memory"]) - int(memory.get("mem_not_counted_for_evict", 0))
        if limit and used > limit * _FULL_AT:
            raise StorageFull(f"the store uses {used} of maxmemory {limit} bytes: raise it")


def store_problem(name: str, reply: Exception) -> TryLater:
    """What a step's failure means: nothing was done, or maybe something."""
    said = f"the store, at {name}: {reply}"
    is_full = isinstance(reply, OutOfMemoryError) or (
        isinstance(reply, ResponseError) and str(reply).startswith(_NOTHING_DONE)
    )
    return StorageFull(said) if is_full else Unavailable(said)


def _told(settings: dict[str, str], names: set[str]) -> str:
    return ", ".join(f"{name} {settings.get(name, 'unknown')!r}" for name in sorted(names))
