"""Leases: a read-only look at the allocator's fixed leases and their index by address."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.domain.moves import FixedLease
from shared.errors import EpochLost, Unavailable
from shared.ids import ClusterName, Identity, NodeName
from shared.store.keys import lease_key
from shared.store.lease_records import LeaseRecord


class RedisLeases:
    """Implements Leases."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._fixed = lease_key(cluster, "fixed")
        self._epoch = lease_key(cluster, "epoch")
        self._index = lease_key(cluster, "addresses")  # address -> identity token

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
            is_exclusive=record.is_exclusive,
            has_place=record.eni is not None,
        )

    async def leased_among(self, addresses: Collection[IPv4Address]) -> set[IPv4Address]:
        """One look at one moment: an epoch counts only on the server it was opened on."""
        if not addresses:
            return set()
        asked = list(addresses)
        try:
            async with self._store.pipeline(transaction=True) as pipe:
                pipe.hmget(self._epoch, ["number", "run_id"])
                pipe.info("server")
                pipe.hmget(self._index, [str(each) for each in asked])
                (number, run_id), server, holders = await pipe.execute()
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        if not int(number or 0) or run_id != server["run_id"].encode():
            raise EpochLost("the leases are being rebuilt: nothing is known of them yet")
        return {each for each, holder in zip(asked, holders, strict=True) if holder}


def _parse(value: bytes) -> LeaseRecord:
    try:
        return LeaseRecord.read(value)
    except ValueError as error:
        raise Unavailable(f"store: {error}") from error
