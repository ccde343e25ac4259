"""A lease that was forgotten leaves nothing in the store, in no index of it."""

from __future__ import annotations

from redis.asyncio import Redis

from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.durability import WriteGate
from shared.ids import ClusterName
from shared.store.keys import lease_key
from tests.support.lease_steps import ONE, expired, opened, voice

CLUSTER = ClusterName("test")


async def test_a_forgotten_lease_is_in_no_index(redis: Redis) -> None:
    store = RedisLeases(redis, CLUSTER, WriteGate())
    await opened(store, 1)
    lease = await expired(store, await voice(store, ONE))

    await store.forget(lease.identity, lease.generation)

    nouns = ("fixed", "addresses", "unjournaled", "expiries")
    assert await redis.exists(*(lease_key(CLUSTER, noun) for noun in nouns)) == 0
