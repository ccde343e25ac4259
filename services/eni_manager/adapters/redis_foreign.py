"""ForeignBook: the key ``eni:foreign``, one JSON document of what the last look found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.cloud.words import UsedAddress
from shared.errors import Unavailable
from shared.ids import ClusterName, SubnetId
from shared.store.keys import eni_key

_FOUND: Final = TypeAdapter(dict[SubnetId, tuple[UsedAddress, ...]])


class RedisForeignBook:
    """Implements ForeignBook."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._key = eni_key(cluster, "foreign")

    async def read(self) -> Mapping[SubnetId, Sequence[UsedAddress]]:
        try:
            body = await self._store.get(self._key)
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        try:
            return {} if body is None else _FOUND.validate_json(body)
        except ValidationError:  # of another version: the next look writes it anew
            return {}

    async def write(self, found: Mapping[SubnetId, Sequence[UsedAddress]]) -> None:
        body = _FOUND.dump_json({subnet: tuple(uses) for subnet, uses in found.items()})
        try:
            await self._store.set(self._key, body)
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
