"""Where the store is, as the setting `redis_url` says it: one server, or the master of many.

``redis+sentinel://[user@]host:port,host:port/service[/db]`` names the sentinels to be asked for
the master of a service; ``redis+cluster://[user@]host:port,host:port`` names members of a Redis
Cluster, to be asked for the owner of this cluster's slot. ``rediss+…`` asks for TLS, to all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from shared.errors import InvalidInput, Refused

_SENTINEL_PORT: Final = 26379
_MEMBER_PORT: Final = 6379
_PLAIN: Final = frozenset({"redis", "rediss", "unix"})
_SENTINELS: Final = frozenset({"redis+sentinel", "rediss+sentinel"})
_MEMBERS: Final = frozenset({"redis+cluster", "rediss+cluster"})
TLS_SCHEMES: Final = ("rediss://", "rediss+sentinel://", "rediss+cluster://")
_ALLOWED: Final = (
    "redis://HOST:PORT/DB, rediss://…, unix://PATH,"
    " redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB, or redis+cluster://HOST:PORT,HOST:PORT"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelAddress:
    """The sentinels, in the order in which they are asked, and what they are asked for."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    database: int
    user: str | None  # at the master; the sentinels have users of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """Members of a Redis Cluster, in the order in which they are asked."""

    members: tuple[tuple[str, int], ...]
    user: str | None  # the same at each


def parse_store_url(url: str) -> SentinelAddress | ClusterAddress | None:
    """Whom to ask, or None for one server's URL. Raises Refused: what is wrong, in a line."""
    parts = urlsplit(url)
    if "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]:
        raise Refused("redis_url: a password is not allowed here; use redis_password_file")
    if parts.scheme in _PLAIN:
        if "ssl" in parts.query:
            raise InvalidInput.of(
                "redis_url", url, f"{_ALLOWED}; how TLS is checked: redis_ca_file, redis_tls_…"
            )
        return None
    user, _, hosts = parts.netloc.rpartition("@")
    if parts.scheme in _MEMBERS and not parts.path.strip("/") and not parts.query:
        return ClusterAddress(
            members=tuple(_host(each, url, _MEMBER_PORT) for each in hosts.split(",")),
            user=unquote(user) or None,
        )
    if parts.scheme not in _SENTINELS:
        raise InvalidInput.of("redis_url", url, _ALLOWED)
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not (database or "0").isdecimal() or parts.query:
        raise InvalidInput.of("redis_url", url, _ALLOWED)
    return SentinelAddress(
        sentinels=tuple(_host(each, url, _SENTINEL_PORT) for each in hosts.split(",")),
        service=unquote(service),
        database=int(database or 0),
        user=unquote(user) or None,
    )


def _host(text: str, url: str, default_port: int) -> tuple[str, int]:
    try:
        found = urlsplit(f"//{text}")
        host, port = found.hostname, found.port
    except ValueError as error:
        raise InvalidInput.of("redis_url", url, f"{_ALLOWED} ({error})") from error
    if not host:
        raise InvalidInput.of("redis_url", url, _ALLOWED)
    return host, port or default_port
