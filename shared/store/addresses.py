"""Where the store is, as the setting `redis_url` says it: one server, or the master of many.

``redis+sentinel://[user@]host:port,host:port/service[/db]`` names the sentinels to be asked for
the master of a service; ``rediss+sentinel://`` asks for TLS, to them and to the master.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from shared.errors import InvalidInput, Refused

_SENTINEL_PORT: Final = 26379
_PLAIN: Final = frozenset({"redis", "rediss", "unix"})
_MANY: Final = frozenset({"redis+sentinel", "rediss+sentinel"})
TLS_SCHEMES: Final = ("rediss://", "rediss+sentinel://")
_ALLOWED: Final = (
    "redis://HOST:PORT/DB, rediss://…, unix://PATH, or"
    " redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelAddress:
    """The sentinels, in the order in which they are asked, and what they are asked for."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    database: int
    user: str | None  # at the master; the sentinels have users of their own


def parse_store_url(url: str) -> SentinelAddress | None:
    """The sentinels, or None for one server's URL. Raises Refused: what is wrong, in a line."""
    parts = urlsplit(url)
    if "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]:
        raise Refused("redis_url: a password is not allowed here; use redis_password_file")
    if parts.scheme in _PLAIN:
        if "ssl" in parts.query:
            raise InvalidInput.of(
                "redis_url", url, f"{_ALLOWED}; how TLS is checked: redis_ca_file, redis_tls_…"
            )
        return None
    if parts.scheme not in _MANY:
        raise InvalidInput.of("redis_url", url, _ALLOWED)
    user, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not (database or "0").isdecimal() or parts.query:
        raise InvalidInput.of("redis_url", url, _ALLOWED)
    return SentinelAddress(
        sentinels=tuple(_host(each, url) for each in hosts.split(",")),
        service=unquote(service),
        database=int(database or 0),
        user=unquote(user) or None,
    )


def _host(text: str, url: str) -> tuple[str, int]:
    try:
        found = urlsplit(f"//{text}")
        host, port = found.hostname, found.port
    except ValueError as error:
        raise InvalidInput.of("redis_url", url, f"{_ALLOWED} ({error})") from error
    if not host:
        raise InvalidInput.of("redis_url", url, _ALLOWED)
    return host, port or _SENTINEL_PORT
