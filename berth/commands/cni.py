"""``berth cni``: the plugin and its configuration list where a container runtime looks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from berth.commands.options import Json
from berth.commands.output import say, show_json
from services.node_agent.adapters.cni_socket import SOCKET_NAME
from services.node_agent.cni.binary import plugin_path
from services.node_agent.cni.install import (
    CONFIG_LIST_NAME,
    MULTUS_TYPE,
    OtherNetwork,
    install_drop_ins,
    install_plugin,
    other_networks,
    uninstall,
    write_config_list,
)
from shared.errors import Refused

app = typer.Typer(help="The CNI plugin of this node.", no_args_is_help=True)

_PROBE_S: Final = 1.0

BinDir = Annotated[Path, typer.Option("--bin-dir", help="Where the runtime finds plugins.")]
ConfDir = Annotated[Path, typer.Option("--conf-dir", help="Where it finds networks.")]
AgentDir = Annotated[Path, typer.Option("--agent-dir", help="The node agent's run folder.")]
EtcDir = Annotated[
    Path,
    typer.Option("--etc-dir", help="Whose systemd and NetworkManager are told of our links."),
]
List = Annotated[
    bool,
    typer.Option("--list", help=f"Write {CONFIG_LIST_NAME} also while no node agent serves."),
]
BIN_DIR: Final = Path("/opt/cni/bin")
CONF_DIR: Final = Path("/etc/cni/net.d")
RUN_DIR: Final = Path("/run/berth")
ETC_DIR: Final = Path("/etc")


@app.command()
def install(
    bin_dir: BinDir = BIN_DIR,
    conf_dir: ConfDir = CONF_DIR,
    agent_dir: AgentDir = RUN_DIR,
    etc_dir: EtcDir = ETC_DIR,
    list_now: List = False,
    as_json: Json = False,
) -> None:
    """Put the plugin under its three names, and the list once the agent serves. By rename."""
    with _told():
        installed = [*install_plugin(plugin_path(), bin_dir), *install_drop_ins(etc_dir)]
        writes_list = list_now or _is_serving(agent_dir)
        if writes_list:
            installed.append(write_config_list(conf_dir, run_dir=agent_dir))
        others = other_networks(conf_dir)
    notes = [_note(other) for other in others]
    if not writes_list:
        notes.append(
            f"{conf_dir / CONFIG_LIST_NAME} follows once the node agent serves: it writes the"
            " list itself when its setting cni_conf_dir names the folder"
        )
    if as_json:
        show_json({"installed": list(map(str, installed)), "notes": notes})
        return
    for path in installed:
        say(f"installed {path}")
    for note in notes:
        say(note)


@app.command("uninstall")
def remove(
    bin_dir: BinDir = BIN_DIR,
    conf_dir: ConfDir = CONF_DIR,
    etc_dir: EtcDir = ETC_DIR,
    as_json: Json = False,
) -> None:
    """Remove what was installed: the list first, then the plugin."""
    with _told():
        removed = uninstall(bin_dir, conf_dir, etc_dir)
    if as_json:
        show_json({"removed": list(map(str, removed))})
        return
    for path in removed:
        say(f"removed {path}")
    if not removed:
        say("nothing of ours was installed")


def _note(other: OtherNetwork) -> str:
    kinds = ", ".join(other.types) or "unreadable"
    if MULTUS_TYPE in other.types:
        return f"{other.name} is Multus: it stays the node's network and finds ours behind it"
    if other.is_before_ours:
        return f"{other.name} ({kinds}) comes before {CONFIG_LIST_NAME}: the runtime uses it"
    return f"{other.name} ({kinds}) comes after {CONFIG_LIST_NAME}: the runtime leaves it alone"


def _is_serving(agent_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(agent_dir / SOCKET_NAME))
        except OSError:
            return False
    return True


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error
