"""Puts plugin and configuration list where a container runtime looks, and removes them.

Everything appears by rename: a runtime may start the plugin, or read the list, at any moment,
and a binary that is being written answers "text file busy".
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from shared.annotations import NetworkMode

PLUGIN_NAMES: Final = ("berth-cni", *(mode.value for mode in NetworkMode))
CONFIG_LIST_NAME: Final = "10-berth.conflist"
NETWORK_NAME: Final = "berth"

_BINARY_MODE: Final = 0o755
_CONFIG_MODE: Final = 0o644


def install_plugin(source: Path, bin_dir: Path) -> list[Path]:
    """Copy the binary under its three names; what was there before is replaced whole."""
    content = source.read_bytes()
    bin_dir.mkdir(parents=True, exist_ok=True)
    installed = [bin_dir / name for name in PLUGIN_NAMES]
    for path in installed:
        _write_by_rename(path, content, _BINARY_MODE)
    return installed


def write_config_list(conf_dir: Path, *, run_dir: Path, pod_source: str | None = None) -> Path:
    """Write the list that makes Berth the node's network: the agent does so once it serves.

    1.0.0 is what every runtime in use reads; those that know `cniVersions` take 1.1.0 of it.
    """
    plugin = {"type": PLUGIN_NAMES[0], "runDir": str(run_dir)}
    if pod_source is not None:
        plugin["podSource"] = pod_source
    body = {
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "name": NETWORK_NAME,
        "plugins": [plugin],
    }
    conf_dir.mkdir(parents=True, exist_ok=True)
    path = conf_dir / CONFIG_LIST_NAME
    _write_by_rename(path, json.dumps(body, indent=2).encode() + b"\n", _CONFIG_MODE)
    return path


def uninstall(bin_dir: Path, conf_dir: Path) -> list[Path]:
    """Remove what was installed, the list first so that no new pod is sent to a plugin gone."""
    paths = [conf_dir / CONFIG_LIST_NAME, *(bin_dir / name for name in PLUGIN_NAMES)]
    removed = [path for path in paths if path.exists()]
    for path in removed:
        path.unlink()
    return removed


def _write_by_rename(path: Path, content: bytes, mode: int) -> None:
    # A runtime reads every *.conflist of the folder: the temporary's name must not end so.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
