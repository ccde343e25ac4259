"""Leases: a read-only look at the allocator's hash of fixed leases."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Final

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.domain.moves import FixedLease
from shared.errors import Unavailable
from shared.ids import ClusterName, Identity, NodeName
from shared.store.keys import lease_key
from shared.store.lease_records import LeaseRecord

_SCAN_COUNT: Final = 1000


class RedisLeases:
    """Implements Leases."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._fixed = lease_key(cluster, "fixed")

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
        """Reads every lease, a bounded page at a time: asked only about addresses in doubt."""
        wanted = set(addresses)
        found: set[IPv4Address] = set()
        if not wanted:
            return found
        try:
            async for _, value in self._store.hscan_iter(self._fixed, count=_SCAN_COUNT):
                record = _parse(value)
                if record.address in wanted:
                    found.add(record.address)
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        return found


def _parse(value: bytes) -> LeaseRecord:
    try:
        return LeaseRecord.model_validate_json(value)
    except ValidationError as error:
        raise Unavailable(f"store: a lease of unknown shape: {error}") from error
