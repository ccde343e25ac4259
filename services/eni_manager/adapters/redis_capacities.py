"""CapacityStore over the store: one hash, a field for each scope, and one for the calls."""

from __future__ import annotations

from typing import Final, cast

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.domain.capacities import Capacities
from shared.capacities import CapacityWish, CloudCalls
from shared.errors import Unavailable
from shared.ids import ClusterName
from shared.store.keys import eni_key

_CALLS: Final = b"calls"
_WISHES: Final = TypeAdapter(CapacityWish)


class RedisCapacities:
    """Implements CapacityStore."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._key = eni_key(cluster, "capacities")

    async def read(self) -> Capacities:
        try:
            found = cast(dict[bytes, bytes], await self._store.hgetall(self._key))
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        try:
            return Capacities(
                calls=CloudCalls(found.pop(_CALLS, CloudCalls.ALL.encode()).decode()),
                scopes={
                    scope.decode(): _WISHES.validate_json(body) for scope, body in found.items()
                },
            )
        except (ValidationError, ValueError) as error:
            raise Unavailable(f"store: capacities of unknown shape: {error}") from error

    async def put(self, scope: str, wish: CapacityWish) -> None:
        try:
            if wish == CapacityWish():
                await self._store.hdel(self._key, scope)
            else:
                await self._store.hset(self._key, scope, _WISHES.dump_json(wish))
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error

    async def put_calls(self, calls: CloudCalls) -> None:
        try:
            await self._store.hset(self._key, _CALLS.decode(), calls)
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
