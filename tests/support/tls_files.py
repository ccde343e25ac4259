"""Authorities and certificates as files, as a cluster's operator lays them out."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from services.allocator.kubernetes.certificates import (
    KeyPair,
    bundle,
    new_authority,
    new_serving_pair,
)

NAME = "store.example"


class TlsFolder:
    """What server and client read; another authority may take the place of the first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.ca = folder / "ca.crt"
        self.certificate, self.key = folder / "server.crt", folder / "server.key"
        self.client_certificate, self.client_key = folder / "client.crt", folder / "client.key"
        self.authority = new_authority("first", datetime.now(UTC))
        self.trust(self.authority)
        self.issue_server()
        self.issue_client()

    def trust(self, *authorities: KeyPair) -> None:
        self.ca.write_bytes(bundle(authorities))

    def issue_server(self, *, name: str = NAME, has_address: bool = True) -> None:
        addresses = (IPv4Address("127.0.0.1"),) if has_address else ()
        pair = new_serving_pair(
            self.authority, [name], datetime.now(UTC), addresses=addresses, is_peer=True
        )
        _write(pair, self.certificate, self.key)

    def issue_client(self) -> None:
        pair = new_serving_pair(self.authority, ["client"], datetime.now(UTC), is_peer=True)
        _write(pair, self.client_certificate, self.client_key)

    def replace_authority(self) -> None:
        """Another one signs from now on; who trusts it is another matter."""
        self.authority = new_authority("second", datetime.now(UTC))
        self.issue_server()
        self.issue_client()


def _write(pair: KeyPair, certificate: Path, key: Path) -> None:
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
