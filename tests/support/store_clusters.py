"""A Redis Cluster of three masters, one of which has a replica; clients have own users."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.crc import key_slot

from shared.ids import ClusterName
from shared.store.keys import root
from shared.store.permissions import StoreUser, acl_lines
from tests.support.servers import RedisServer, free_port, redis_server

MASTERS: Final = 3
_SLOTS: Final = 16384
_TIMEOUT_MS: Final = 1000
_READY_S: Final = 30.0
_SECRET: Final = "of-the-tests"
_ADMIN: Final = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCluster:
    """`replica` follows the master that has the slot of the cluster it was made for."""

    masters: list[RedisServer]
    replica: RedisServer
    password_file: Path

    def settings_of(self, cluster: ClusterName) -> dict[str, object]:
        """Of a service that connects as that Berth cluster's allocator."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.masters)
        return {
            "cluster": cluster,
            "redis_url": f"redis+cluster://{cluster}-{StoreUser.ALLOCATOR}@{hosts}",
            "redis_password_file": self.password_file,
            "redis_timeout_s": 0.5,
        }

    def owner_of(self, cluster: ClusterName) -> RedisServer:
        return self.masters[_share_of(cluster)]

    def admin(self, server: RedisServer) -> Redis:
        return _admin(server)


@contextmanager
def store_cluster(folder: Path, *clusters: ClusterName) -> Iterator[StoreCluster]:
    """The replica is of the first one's slot."""
    password_file = folder / "password"
    password_file.write_text(f"{_SECRET}\n")
    acl = folder / "users.acl"
    lines = [f"user {_ADMIN} on >{_SECRET} ~* &* +@all"]
    for cluster in clusters:
        own = acl_lines(cluster, dict.fromkeys(StoreUser, _SECRET))
        lines += [
            line.replace("user ", f"user {cluster}-", 1) for line in own if " on " in line
        ]
    acl.write_text("\n".join([*lines, "user default off"]) + "\n")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(redis_server(*_arguments(acl))) for _ in range(MASTERS + 1)
        ]
        *masters, replica = servers
        admins = [stack.enter_context(_admin(each)) for each in servers]
        for n, admin in enumerate(admins[:MASTERS]):
            first, following = n * _SLOTS // MASTERS, (n + 1) * _SLOTS // MASTERS
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", first, following - 1)
            admin.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for admin in admins[1:]:
            bus = int(admins[0].config_get("cluster-port")["cluster-port"])
            admin.execute_command("CLUSTER", "MEET", "127.0.0.1", masters[0].port, bus)
        for admin in admins:
            _until(lambda admin=admin: _known(admin) == len(servers))
        of = _share_of(clusters[0])
        name = admins[of].execute_command("CLUSTER", "MYID").decode()
        admins[-1].execute_command("CLUSTER", "REPLICATE", name)
        _until(lambda: admins[-1].info("replication").get("master_link_status") == "up")
        for admin in admins:
            _until(lambda admin=admin: b"cluster_state:ok" in _info(admin))
        yield StoreCluster(masters=masters, replica=replica, password_file=password_file)


def _arguments(acl: Path) -> tuple[str, ...]:
    return (
        *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
        *("--cluster-node-timeout", str(_TIMEOUT_MS), "--aclfile", str(acl)),
        *("--masteruser", _ADMIN, "--masterauth", _SECRET, "--repl-diskless-sync-delay", "0"),
    )


def _admin(server: RedisServer) -> Redis:
    return Redis(port=server.port, username=_ADMIN, password=_SECRET)


def _share_of(cluster: ClusterName) -> int:
    slot = key_slot(root(cluster).encode())
    return next(n for n in range(MASTERS) if slot < (n + 1) * _SLOTS // MASTERS)


def _info(admin: Redis) -> bytes:
    found: Any = admin.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call] # redis-py's own
    return found if isinstance(found, bytes) else repr(found).encode()


def _known(admin: Redis) -> int:
    found: Any = admin.execute_command("CLUSTER", "NODES")  # type: ignore[no-untyped-call] # redis-py's own
    return len(found) if isinstance(found, dict) else len(found.splitlines())


def _until(is_so: Any) -> None:
    until_s = time.monotonic() + _READY_S
    while not is_so():
        assert time.monotonic() < until_s, "the cluster did not come together"
        time.sleep(0.05)
