"""UnclaimedBook: the key ``eni:unclaimed``, one JSON document of what the last look found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.domain.records import UnclaimedEni
from shared.errors import Unavailable
from shared.ids import ClusterName
from shared.store.keys import eni_key

_FOUND: Final = TypeAdapter(tuple[UnclaimedEni, ...])


class RedisUnclaimedBook:
    """Implements UnclaimedBook."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._key = eni_key(cluster, "unclaimed")

    async def read(self) -> Sequence[UnclaimedEni]:
        try:
            body = await self._store.get(self._key)
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        try:
            return () if body is None else _FOUND.validate_json(body)
        except ValidationError:  # of another version: the next look writes it anew
            return ()

    async def write(self, found: Sequence[UnclaimedEni]) -> None:
        try:
            await self._store.set(self._key, _FOUND.dump_json(tuple(found)))
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
