"""Leases: a read-only look at the allocator's fixed leases and their index by address."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Final

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.domain.moves import FixedLease
from shared.errors import EpochLost, Unavailable
from shared.ids import ClusterName, Identity, NodeName
from shared.store.keys import lease_key
from shared.store.lease_records import LeaseRecord
from shared.store.scripts import load_script

_LUA: Final = "services.eni_manager.adapters.lua"


class RedisLeases:
    """Implements Leases."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._fixed = lease_key(cluster, "fixed")
        self._epoch = lease_key(cluster, "epoch")
        self._addresses = lease_key(cluster, "addresses")
        self._leased_among = load_script(store, _LUA, "leased_among")

    async def find(self, identity: Identity) -> FixedLease | None:
        try:
            found: bytes | None = await self._store.hget(self._fixed, identity.token)  # type: ignore[assignment] # redis-py types both its clients at once
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        if found is None:
            return None
        record = _parse(found)
        return FixedLease(
            address=record.address,
            state=record.state,
            generation=record.generation,
            moving_to=NodeName(record.moving_to) if record.moving_to else None,
        )

    async def leased_among(self, addresses: Collection[IPv4Address]) -> set[IPv4Address]:
        if not addresses:
            return set()
        try:
            state, *found = await self._leased_among(
                keys=[self._epoch, self._addresses], args=[str(each) for each in addresses]
            )
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        if state != b"open":
            raise EpochLost("the leases are being rebuilt: nothing is known of them yet")
        return {IPv4Address(each.decode()) for each in found}


def _parse(value: bytes) -> LeaseRecord:
    try:
        return LeaseRecord.model_validate_json(value)
    except ValidationError as error:
        raise Unavailable(f"store: a lease of unknown shape: {error}") from error
