"""Embargoes over the store: one small hash of the cluster, read before addresses are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import ClusterName, EniId
from shared.store.keys import eni_key


class RedisEmbargoes:
    """Implements Embargoes."""

    def __init__(self, store: Redis, *, cluster: ClusterName, clock: Clock) -> None:
        self._store = store
        self._key = eni_key(cluster, "embargoes")  # ENI/address -> until when (ms)
        self._clock = clock

    async def begin(
        self, eni: EniId, addresses: Sequence[IPv4Address], until: datetime
    ) -> None:
        if not addresses:
            return
        until_ms = round(until.timestamp() * 1000)
        try:
            await self._drop_ended()
            await self._store.hset(
                self._key, mapping={_field(eni, each): until_ms for each in addresses}
            )
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error

    async def among(
        self, places: Sequence[tuple[EniId, IPv4Address]]
    ) -> Mapping[tuple[EniId, IPv4Address], datetime]:
        if not places:
            return {}
        try:
            found = await self._store.hmget(self._key, [_field(*each) for each in places])
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        now = self._clock.now()
        untils = {
            place: datetime.fromtimestamp(int(value) / 1000, UTC)
            for place, value in zip(places, found, strict=True)
            if value is not None
        }
        return {place: until for place, until in untils.items() if until > now}

    async def _drop_ended(self) -> None:
        now_ms = round(self._clock.now().timestamp() * 1000)
        kept = cast(dict[bytes, bytes], await self._store.hgetall(self._key))
        if ended := [field for field, until in kept.items() if int(until) <= now_ms]:
            await self._store.hdel(self._key, *ended)


def _field(eni: EniId, address: IPv4Address) -> str:
    return f"{eni}/{address}"
