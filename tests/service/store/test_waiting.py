"""Many commands share a few connections."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as NoConnection

from shared.settings import StoreSettings
from shared.store.connection import open_store
from tests.support.servers import RedisServer


async def test_a_hundred_commands_at_once_share_two_connections(
    redis_server: RedisServer,
) -> None:
    store = open_store(StoreSettings(redis_url=redis_server.url, redis_connections_max=2))

    await asyncio.gather(*(store.incr("count") for _ in range(100)))

    clients = await store.client_list()
    assert int(await store.get("count") or 0) == 100
    assert len(clients) <= 2
    await store.aclose()


async def test_one_that_waits_too_long_for_a_connection_is_told(
    redis_server: RedisServer,
) -> None:
    store = open_store(
        StoreSettings(redis_url=redis_server.url, redis_connections_max=1, redis_timeout_s=0.2)
    )
    pool = store.connection_pool
    kept = await pool.get_connection()  # type: ignore[no-untyped-call] # redis-py's own

    with pytest.raises(NoConnection, match="no connection came free"):
        await store.ping()

    await pool.release(kept)
    assert await store.ping()
    await store.aclose()
