"""Puts plugin and configuration list where a container runtime looks, and removes them.

Everything appears by rename: a runtime may start the plugin, or read the list, at any moment,
and a binary that is being written answers "text file busy".
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.node_agent.cni.drop_ins import drop_ins
from shared.annotations import NetworkMode
from shared.errors import Refused

PLUGIN_NAMES: Final = ("berth-cni", *(mode.value for mode in NetworkMode))
CONFIG_LIST_NAME: Final = "10-berth.conflist"
NETWORK_NAME: Final = "berth"

MULTUS_TYPE: Final = "multus"

_LIST_SUFFIXES: Final = (".conf", ".conflist", ".json")  # a runtime reads them by name
_LIST_BYTES_MAX: Final = 1 << 20
_BINARY_MODE: Final = 0o755
_CONFIG_MODE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherNetwork:
    """A network configuration of somebody else; a runtime takes the first by name."""

    name: str
    types: tuple[str, ...]  # of its plugins; empty: it cannot be read

    @property
    def is_before_ours(self) -> bool:
        return self.name < CONFIG_LIST_NAME


def other_networks(conf_dir: Path) -> list[OtherNetwork]:
    """What else is there, in the order in which a runtime looks."""
    paths = sorted(conf_dir.iterdir()) if conf_dir.is_dir() else []
    return [
        OtherNetwork(name=path.name, types=_types(path))
        for path in paths
        if path.suffix in _LIST_SUFFIXES and path.name != CONFIG_LIST_NAME
    ]


def install_plugin(source: Path, bin_dir: Path) -> list[Path]:
    """Copy the binary under its three names; what was there before is replaced whole."""
    content = source.read_bytes()
    bin_dir.mkdir(parents=True, exist_ok=True)
    installed = [bin_dir / name for name in PLUGIN_NAMES]
    for path in installed:
        _write_by_rename(path, content, _BINARY_MODE)
    return installed


def write_config_list(
    conf_dir: Path,
    *,
    run_dir: Path,
    pod_source: str | None = None,
    timeout_s: float | None = None,
) -> Path:
    """Write the list that makes Berth the node's network: the agent does so once it serves.

    1.0.0 is what every runtime in use reads; those that know `cniVersions` take 1.1.0 of it.
    Raises Refused when it would come before Multus, which must stay the node's network.
    """
    for other in other_networks(conf_dir):
        if MULTUS_TYPE in other.types and not other.is_before_ours:
            raise Refused(
                f"{conf_dir / other.name}: Multus would be shadowed by {CONFIG_LIST_NAME},"
                " which sorts before it; rename it, such as to 00-multus.conf"
            )
    plugin: dict[str, str | float] = {"type": PLUGIN_NAMES[0], "runDir": str(run_dir)}
    if timeout_s is not None:
        plugin["timeoutSeconds"] = timeout_s
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


def install_drop_ins(etc_dir: Path) -> list[Path]:
    """Have the machine's network daemons leave our links and rules alone."""
    files = drop_ins(etc_dir)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_by_rename(path, content, _CONFIG_MODE)
    return list(files)


def uninstall(bin_dir: Path, conf_dir: Path, etc_dir: Path) -> list[Path]:
    """Remove what was installed, the list first so that no new pod is sent to a plugin gone."""
    paths = [
        conf_dir / CONFIG_LIST_NAME,
        *(bin_dir / name for name in PLUGIN_NAMES),
        *drop_ins(etc_dir),
    ]
    removed = [path for path in paths if path.exists()]
    for path in removed:
        path.unlink()
    return removed


def _types(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(_LIST_BYTES_MAX))
    except (OSError, ValueError):
        return ()
    plugins = body.get("plugins", [body]) if isinstance(body, dict) else []
    found = [each.get("type") for each in plugins if isinstance(each, dict)]
    return tuple(each for each in found if isinstance(each, str))


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
