"""A store of two servers under the eyes of three sentinels, every client with its own user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.ids import ClusterName
from shared.store.permissions import (
    ReplicationUser,
    StoreUser,
    acl_lines,
    replication_acl_lines,
    sentinel_acl_lines,
)
from tests.support.servers import RedisServer, redis_server, sentinel_server

SERVICE = "berth"
SENTINELS = 3
_DOWN_MS = 400
_SECRET = "of-the-tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedStore:
    """`master` is the one at the start."""

    master: RedisServer
    replica: RedisServer
    sentinels: list[RedisServer]
    password_file: Path

    @property
    def settings(self) -> dict[str, object]:
        """Of a service that connects as the allocator."""
        return self.settings_of(StoreUser.ALLOCATOR)

    def settings_of(self, user: StoreUser) -> dict[str, object]:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return {
            "redis_url": f"redis+sentinel://{user}@{hosts}/{SERVICE}",
            "redis_password_file": self.password_file,
            "redis_sentinel_user": "berth",
            "redis_sentinel_password_file": self.password_file,
            "redis_timeout_s": 0.5,
        }


@contextmanager
def watched_store(cluster: ClusterName, folder: Path) -> Iterator[WatchedStore]:
    password_file = _file(folder / "password", [_SECRET])
    acl = _file(
        folder / "users.acl",
        [
            *acl_lines(cluster, dict.fromkeys(StoreUser, _SECRET)),
            *replication_acl_lines(dict.fromkeys(ReplicationUser, _SECRET)),
        ],
    )
    own = (
        *("--aclfile", str(acl), "--masterauth", _SECRET),
        *("--masteruser", ReplicationUser.REPLICA, "--repl-diskless-sync-delay", "0"),
    )
    sentinel_acl = _file(
        folder / "sentinel.acl", sentinel_acl_lines({"berth": _SECRET}, ("peer", _SECRET))
    )
    with ExitStack() as stack:
        master = stack.enter_context(redis_server(*own))
        replica = stack.enter_context(
            redis_server(*own, "--replicaof", f"127.0.0.1 {master.port}")
        )
        sentinels = [
            stack.enter_context(sentinel_server(_watch(master, sentinel_acl)))
            for _ in range(SENTINELS)
        ]
        yield WatchedStore(
            master=master, replica=replica, sentinels=sentinels, password_file=password_file
        )


def _watch(master: RedisServer, acl: Path) -> list[str]:
    return [
        f"aclfile {acl}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2",
        f"sentinel auth-user {SERVICE} {ReplicationUser.SENTINEL}",
        f"sentinel auth-pass {SERVICE} {_SECRET}",
        f"sentinel down-after-milliseconds {SERVICE} {_DOWN_MS}",
        f"sentinel failover-timeout {SERVICE} 5000",
        "sentinel sentinel-user peer",
        f"sentinel sentinel-pass {_SECRET}",
    ]


def _file(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path
