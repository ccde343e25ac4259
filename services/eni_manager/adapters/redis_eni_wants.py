"""EniWants: the set ``eni:wants`` of nodes, told again and again while it is so."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.ids import ClusterName, NodeName
from shared.store.keys import eni_key

_KEPT_S: Final = 60  # after the last node's word: of replicas that are no more


class RedisEniWants:
    """Implements EniWants."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._key = eni_key(cluster, "wants")

    async def add(self, node: NodeName) -> None:
        await _answered(self._store.sadd(self._key, node))
        await _answered(self._store.expire(self._key, _KEPT_S))

    async def end(self, node: NodeName) -> None:
        await _answered(self._store.srem(self._key, node))

    async def take(self) -> bool:
        return await _answered(self._store.spop(self._key)) is not None

    async def count(self) -> int:
        return int(await _answered(self._store.scard(self._key)))


async def _answered(command: Awaitable[Any] | Any) -> Any:
    try:
        return await command
    except (RedisError, OSError) as error:
        raise Unavailable(f"store: {error}") from error
