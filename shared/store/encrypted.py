"""Connections to the store over TLS: each with the files as they are when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelManagedConnection

from shared.tls import TlsFiles


class EncryptedConnection(SSLConnection):
    """redis-py's own keeps what it once read, and checks no name but the address."""

    def __init__(self, *, tls: TlsFiles, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {
            "host": self.host,
            "port": self.port,
            "ssl": self._tls.context(),
            "server_hostname": self._tls.hostname or self.host,
        }


class EncryptedMasterConnection(SentinelManagedConnection, EncryptedConnection):
    """The same, to the master that sentinels name."""
