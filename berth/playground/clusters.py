"""Bus and store as three servers each, every one alone dispensable.

NATS: a full mesh, so that streams of three replicas have a leader as long as two are there.
Store: a master with two replicas, under three sentinels of which two agree on a fail-over.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from berth.playground.keys import PlaygroundKeys, write_secret
from berth.playground.nats_server import nats_process
from berth.playground.ports import LOOPBACK, take_port
from berth.playground.processes import ProcessSpec
from berth.playground.valkey_server import explain, valkey_binary, valkey_process
from shared.bus.permissions import BusUser
from shared.ids import ClusterName
from shared.store.permissions import (
    ReplicationUser,
    StoreUser,
    replication_acl_lines,
    sentinel_acl_lines,
)

SERVERS: Final = 3
SERVICE: Final = "berth"  # what the sentinels call the store
_QUORUM: Final = 2
_DOWN_MS: Final = 1000  # silent so long, a server counts as dead
_FAIL_OVER_MS: Final = 10_000
_SECRET_BYTES: Final = 32
_ASKS: Final = "berth"  # a service's user at the sentinels
_PEER: Final = "peer"


def nats_cluster(
    folder: Path,
    *,
    first_port: int,
    users: Iterable[BusUser],
    cluster: ClusterName,
    logs: Path,
    environment: Mapping[str, str],
) -> tuple[list[ProcessSpec], list[int]]:
    """Three servers, and the ports that clients use."""
    known = list(users)
    ports = [first_port, *(take_port(0, "nats") for _ in range(SERVERS - 1))]
    routes = [take_port(0, "nats route") for _ in range(SERVERS)]
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    specs = []
    for number, (port, route) in enumerate(zip(ports, routes, strict=True), start=1):
        mesh = {
            "name": "berth",
            "listen": f"{LOOPBACK}:{route}",
            "authorization": {"user": "route", "password": secret},
            "routes": [f"nats-route://route:{secret}@{LOOPBACK}:{each}" for each in routes],
            "no_advertise": True,  # a node reaches each server by a relay of its own
        }
        specs.append(
            nats_process(
                folder / f"nats-{number}",
                name=f"nats-{number}",
                port=port,
                users=known,
                cluster=cluster,
                log_file=logs / f"nats-{number}.log",
                environment=environment,
                mesh=mesh,
            )
        )
    return specs, ports


class WatchedStores:
    """The files and processes of the store's servers and of those that watch them."""

    def __init__(
        self,
        folder: Path,
        *,
        first_port: int,
        keys: PlaygroundKeys,
        cluster: ClusterName,
        logs: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._folder = folder
        self._logs = logs
        self._environment = environment
        self._secret = secrets.token_urlsafe(_SECRET_BYTES)
        folder.mkdir(mode=0o700, parents=True)
        self.password_file = write_secret(folder / "sentinel.password", f"{self._secret}\n")
        self.ports = [first_port, *(take_port(0, "redis") for _ in range(SERVERS - 1))]
        self.sentinel_ports = [take_port(0, "sentinel") for _ in range(SERVERS)]
        self._passwords = {user: each.password for user, each in keys.store.items()}
        self._cluster = cluster

    def url(self, user: StoreUser | None = None) -> str:
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self.sentinel_ports)
        name = "" if user is None else f"{user}@"
        return f"redis+sentinel://{name}{hosts}/{SERVICE}"

    def on_store(self) -> dict[str, object]:
        """What a service needs beside its own user and password."""
        return {
            "BERTH_REDIS_SENTINEL_USER": _ASKS,
            "BERTH_REDIS_SENTINEL_PASSWORD_FILE": self.password_file,
        }

    def stores(self) -> list[ProcessSpec]:
        """The first one is the master to begin with."""
        master, *_ = self.ports
        specs = []
        for number, port in enumerate(self.ports, start=1):
            more: dict[str, object] = {
                "masterauth": self._secret,
                "masteruser": ReplicationUser.REPLICA,
                "repl-diskless-sync-delay": "0",
            }
            if port != master:
                more["replicaof"] = f"{LOOPBACK} {master}"
            specs.append(
                valkey_process(
                    self._folder / f"valkey-{number}",
                    name=f"valkey-{number}",
                    port=port,
                    passwords=self._passwords,
                    cluster=self._cluster,
                    log_file=self._logs / f"valkey-{number}.log",
                    environment=self._environment,
                    more=more,
                    more_users=replication_acl_lines(
                        dict.fromkeys(ReplicationUser, self._secret)
                    ),
                )
            )
        return specs

    def sentinels(self) -> list[ProcessSpec]:
        return [
            self._sentinel(f"valkey-sentinel-{number}", port)
            for number, port in enumerate(self.sentinel_ports, start=1)
        ]

    def _sentinel(self, name: str, port: int) -> ProcessSpec:
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        acl_lines = sentinel_acl_lines({_ASKS: self._secret}, (_PEER, self._secret))
        acl = write_secret(folder / "users.acl", "\n".join(acl_lines) + "\n")
        lines = [
            f"port {port}",
            f"bind {LOOPBACK}",
            f"dir {json.dumps(str(folder))}",
            f"aclfile {json.dumps(str(acl))}",
            f"sentinel monitor {SERVICE} {LOOPBACK} {self.ports[0]} {_QUORUM}",
            f"sentinel auth-user {SERVICE} {ReplicationUser.SENTINEL}",
            f"sentinel auth-pass {SERVICE} {self._secret}",
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_MS}",
            f"sentinel failover-timeout {SERVICE} {_FAIL_OVER_MS}",
            f"sentinel sentinel-user {_PEER}",
            f"sentinel sentinel-pass {self._secret}",
        ]
        config = write_secret(folder / "sentinel.conf", "\n".join(lines) + "\n")

        async def is_ready(words: str) -> str | None:
            is_watching = f"+monitor master {SERVICE}" in words
            return None if is_watching else "the sentinel has not said whom it watches"

        return ProcessSpec(
            name=name,
            argv=(str(valkey_binary()), str(config), "--sentinel"),
            environment=self._environment,
            log_file=self._logs / f"{name}.log",
            is_ready=is_ready,
            ready_timeout_s=15.0,
            explain=explain,
        )
