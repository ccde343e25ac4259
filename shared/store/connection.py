"""One pool of connections to the store, with the retry policy said out loud.

redis-py's own default retries ten times, so a time limit of 0.2 s lasts 5 s. Here a command is
tried once: the caller repeats with the same key, and fails fast. Behind sentinels each new
connection asks them for the master, so a fail-over is followed by whoever repeats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from shared.errors import Refused, Unavailable
from shared.settings import StoreSettings
from shared.store.addresses import SentinelAddress, parse_store_url
from shared.store.waiting import WaitingPool, WaitingSentinelPool

STORE_CONDITION: Final = "store"
_HEALTH_CHECK_S: Final = 10


def open_store(settings: StoreSettings) -> redis.Redis:
    """A pool; nothing is connected yet."""
    sentinels = parse_store_url(settings.redis_url)
    options: dict[str, Any] = {
        "password": _secret(settings.redis_password_file, "redis_password_file"),
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "max_connections": settings.redis_connections_max,
        "wait_s": settings.redis_timeout_s,
        "health_check_interval": _HEALTH_CHECK_S,
        "retry": Retry(NoBackoff(), 0),
    }
    if sentinels is not None:
        return _behind(sentinels, settings, options)
    try:
        return redis.Redis.from_pool(WaitingPool.from_url(settings.redis_url, **options))
    except ValueError as error:
        raise Refused(f"redis_url {settings.redis_url}: {error}") from error


def _behind(
    address: SentinelAddress, settings: StoreSettings, options: dict[str, Any]
) -> redis.Redis:
    """The master that the sentinels name, asked anew for each connection."""
    tls = {"ssl": True} if address.is_tls else {}
    told: dict[str, Any] = {
        "username": settings.redis_sentinel_user,
        "password": _secret(
            settings.redis_sentinel_password_file, "redis_sentinel_password_file"
        ),
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=told | tls)  # type: ignore[no-untyped-call] # redis-py's own
    options |= tls | {"username": address.user, "db": address.database}
    store: redis.Redis = sentinel.master_for(
        address.service, connection_pool_class=WaitingSentinelPool, **options
    )
    return store


async def close_store(store: redis.Redis) -> None:
    """The pool, and the connections to the sentinels behind it."""
    await store.aclose()
    sentinel = getattr(store.connection_pool, "sentinel_manager", None)
    if sentinel is not None:
        await sentinel.aclose()


async def check_store(store: redis.Redis, settings: StoreSettings) -> None:
    """Raise in one line when the store does not answer or refuses this user."""
    try:
        await store.ping()
    except (AuthenticationError, NoPermissionError) as error:
        raise Refused(f"redis_url {settings.redis_url}: the store refuses: {error}") from error
    except (RedisError, OSError) as error:
        raise Unavailable(
            f"redis_url {settings.redis_url}: the store does not answer: {error}"
        ) from error


def _secret(file: Path | None, setting: str) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Refused(f"{setting}: cannot be read: {error}") from error
