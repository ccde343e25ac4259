"""A guarded store: one user for each service, nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from berth.playground.keys import KeyRing, StorePassword
from shared.ids import ClusterName
from shared.settings import StoreSettings
from shared.store.permissions import StoreUser, acl_lines
from tests.support.servers import redis_server

CLUSTER = ClusterName("default")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedStore:
    port: int
    passwords: dict[StoreUser, StorePassword]

    def settings(
        self, user: StoreUser | str, password_of: StoreUser | None = None
    ) -> StoreSettings:
        """Settings of a service that connects as `user`; by default with its own password."""
        owner = password_of or (user if isinstance(user, StoreUser) else None)
        return StoreSettings(
            redis_url=f"redis://{user}@127.0.0.1:{self.port}/0",
            redis_password_file=self.passwords[owner].password_file if owner else None,
        )


@pytest.fixture
def guarded_store(tmp_path: Path) -> Iterator[GuardedStore]:
    ring = KeyRing(tmp_path / "keys")
    passwords = {user: ring.store_password(user) for user in StoreUser}
    acl = tmp_path / "users.acl"
    lines = acl_lines(CLUSTER, {user: each.password for user, each in passwords.items()})
    acl.write_text("\n".join(lines) + "\n")
    with redis_server("--aclfile", str(acl)) as server:
        yield GuardedStore(port=server.port, passwords=passwords)
