"""One pool of connections to the store, with the retry policy said out loud.

redis-py's own default retries ten times, so a time limit of 0.2 s lasts 5 s. Here a command is
tried once: the caller repeats with the same key, and fails fast. Behind sentinels, and in a
Redis Cluster, each new connection asks for the master, so a fail-over is followed by whoever
repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.connection import Connection, ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from shared.errors import Refused, Unavailable
from shared.settings import StoreSettings
from shared.store.addresses import (
    TLS_SCHEMES,
    ClusterAddress,
    SentinelAddress,
    parse_store_url,
)
from shared.store.encrypted import EncryptedConnection, EncryptedMasterConnection
from shared.store.keys import root
from shared.store.slots import EncryptedSlotConnection, SlotConnection, SlotOwner
from shared.store.waiting import WaitingPool, WaitingSentinelPool
from shared.tls import TlsFiles

STORE_CONDITION: Final = "store"
_HEALTH_CHECK_S: Final = 10
_TOLD: Final = (
    *("username", "password", "socket_timeout", "socket_connect_timeout"),
    *("driver_info", "retry"),
)  # options of whoever is asked for the master, too


def open_store(settings: StoreSettings) -> redis.Redis:
    """A pool; nothing is connected yet."""
    address = parse_store_url(settings.redis_url)
    tls = _tls(settings)
    options: dict[str, Any] = {
        "password": _secret(settings.redis_password_file, "redis_password_file"),
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "max_connections": settings.redis_connections_max,
        "wait_s": settings.redis_timeout_s,
        "health_check_interval": _HEALTH_CHECK_S,
        "driver_info": None,  # Redis knows CLIENT SETINFO from 7.2 on
        "retry": Retry(NoBackoff(), 0),
    }
    if isinstance(address, SentinelAddress):
        return _behind(address, settings, options, tls)
    if address is not None:
        return _among(address, settings, options, tls)
    try:
        options |= parse_url(settings.redis_url)
    except ValueError as error:
        raise Refused(f"redis_url {settings.redis_url}: {error}") from error
    if tls is not None:
        options |= {"connection_class": EncryptedConnection, "tls": tls}
    return redis.Redis.from_pool(WaitingPool(**options))


def _behind(
    address: SentinelAddress,
    settings: StoreSettings,
    options: dict[str, Any],
    tls: TlsFiles | None,
) -> redis.Redis:
    """The master that the sentinels name, asked anew for each connection."""
    options |= {"username": address.user, "db": address.database}
    if tls is not None:
        options |= {"connection_class": EncryptedMasterConnection, "tls": tls}
    password = _secret(settings.redis_sentinel_password_file, "redis_sentinel_password_file")
    own = {"username": settings.redis_sentinel_user, "password": password}
    sentinel = Sentinel([])  # type: ignore[no-untyped-call] # redis-py's own
    sentinel.sentinels = list(_asked(address.sentinels, options | own, tls).values())
    store: redis.Redis = sentinel.master_for(
        address.service, connection_pool_class=WaitingSentinelPool, **options
    )
    return store


def _among(
    address: ClusterAddress,
    settings: StoreSettings,
    options: dict[str, Any],
    tls: TlsFiles | None,
) -> redis.Redis:
    """The owner of the slot that all keys are of, asked for anew for each connection."""
    options |= {"username": address.user, "connection_class": SlotConnection}
    if tls is not None:
        options |= {"connection_class": EncryptedSlotConnection, "tls": tls}
    members = _asked(address.members, options, tls)
    owner = SlotOwner(members, key=root(settings.cluster))
    return redis.Redis.from_pool(WaitingSentinelPool(settings.cluster, owner, **options))


def _asked(
    servers: Sequence[tuple[str, int]], options: Mapping[str, Any], tls: TlsFiles | None
) -> dict[tuple[str, int], redis.Redis]:
    """Clients of those that name the master, by their addresses."""
    told = {each: options[each] for each in _TOLD} | {"connection_class": Connection}
    if tls is not None:
        told |= {"connection_class": EncryptedConnection, "tls": tls}
    return {
        (host, port): redis.Redis.from_pool(ConnectionPool(host=host, port=port, **told))
        for host, port in servers
    }


async def close_store(store: redis.Redis) -> None:
    """The pool, and the connections to whom it asks for the master."""
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


def _tls(settings: StoreSettings) -> TlsFiles | None:
    files = TlsFiles(
        ca=settings.redis_ca_file,
        certificate=settings.redis_tls_cert_file,
        key=settings.redis_tls_key_file,
        hostname=settings.redis_tls_hostname,
    )
    if settings.redis_url.startswith(TLS_SCHEMES):
        files.check("redis")
        return files
    if files != TlsFiles():
        raise Refused(
            f"redis_url {settings.redis_url}: speaks no TLS, and redis_ca_file or redis_tls_…"
            " is set: rediss://… does"
        )
    return None


def _secret(file: Path | None, setting: str) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Refused(f"{setting}: cannot be read: {error}") from error
