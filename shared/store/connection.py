"""One pool of connections to the store, with the retry policy said out loud.

redis-py's own default retries ten times, so a time limit of 0.2 s lasts 5 s. Here a command is
tried once: the caller repeats with the same key, and fails fast.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from shared.errors import Refused, Unavailable
from shared.settings import StoreSettings

STORE_CONDITION: Final = "store"
_HEALTH_CHECK_S: Final = 10


def open_store(settings: StoreSettings) -> redis.Redis:
    """A pool; nothing is connected yet."""
    address = urlsplit(settings.redis_url)
    if address.password:
        raise Refused("redis_url: a password is not allowed here; use redis_password_file")
    password = None
    if settings.redis_password_file is not None:
        try:
            password = settings.redis_password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Refused(f"redis_password_file: cannot be read: {error}") from error
    try:
        pool = redis.BlockingConnectionPool.from_url(
            settings.redis_url,
            password=password,
            socket_timeout=settings.redis_timeout_s,
            socket_connect_timeout=settings.redis_timeout_s,
            max_connections=settings.redis_connections_max,
            timeout=settings.redis_timeout_s,  # for a connection, when all are in use
            health_check_interval=_HEALTH_CHECK_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise Refused(f"redis_url {settings.redis_url}: {error}") from error
    return redis.Redis.from_pool(pool)


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
