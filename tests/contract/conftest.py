"""Each test runs on every store of leases: in memory, and as scripts on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.durability import WriteGate
from shared.ids import ClusterName
from tests.support.lease_requests import NodeVoice
from tests.support.lease_steps import (
    ONE,
    TWO,
    Store,
    opened,
    voice,
)
from tests.support.servers import RedisServer


@pytest.fixture
def memory_store() -> MemoryLeases:
    return MemoryLeases()


@pytest.fixture
async def redis_store(redis_server: RedisServer) -> AsyncIterator[RedisLeases]:
    client = Redis.from_url(redis_server.url)
    try:
        yield RedisLeases(client, ClusterName("test"), WriteGate())
    finally:
        await client.aclose()


@pytest.fixture(params=["memory_store", "redis_store"])
def closed(request: pytest.FixtureRequest) -> Store:
    """No epoch was ever opened here."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def store(closed: Store) -> Store:
    """Epoch 1 is open and in use."""
    await opened(closed, 1)
    return closed


@pytest.fixture
async def one(store: Store) -> NodeVoice:
    return await voice(store, ONE)


@pytest.fixture
async def two(store: Store) -> NodeVoice:
    return await voice(store, TWO)
