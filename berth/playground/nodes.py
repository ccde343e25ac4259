"""The nodes of a playground: their folders, and the way into their instances."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from berth.playground.state import NodeState
from berth.playground.topology import PlannedNode
from shared.errors import Refused, Unavailable
from shared.ids import InstanceId, encode_token

_LONGEST_SOCKET: Final = "agent.sock.00000000"  # as it is called until it listens
_SOCKET_PATH_BYTES_MAX: Final = 107  # sun_path, with its final zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """The way into one instance: a process there, and the path of its network namespace."""

    pid: int
    netns: Path | None


class InstanceDoors:
    """Where the simulator says each instance is."""

    def __init__(self, ready_file: Path) -> None:
        self.ready_file = ready_file

    def door(self, instance: InstanceId) -> Door | None:
        """None in a cloud without a network."""
        try:
            ready = _Ready.model_validate_json(self.ready_file.read_bytes())
        except (OSError, ValidationError) as error:
            raise Unavailable(f"{self.ready_file}: cannot be read: {error}") from error
        found = ready.instances.get(instance)
        return Door(pid=found.pid, netns=found.netns) if found is not None else None


class _ReadyInstance(BaseModel):
    pid: Annotated[int, Field(ge=1)]
    netns: Path | None = None


class _Ready(BaseModel):
    """What the simulator writes when it serves."""

    model_config = ConfigDict(extra="ignore")

    instances: dict[str, _ReadyInstance] = {}


def check_paths(run_dir: Path, nodes: Iterable[PlannedNode]) -> None:
    """Raise Refused where a node's socket would have a longer path than the kernel takes."""
    for node in nodes:
        path = _folder(run_dir, node) / "run" / _LONGEST_SOCKET
        excess = len(os.fsencode(path)) - _SOCKET_PATH_BYTES_MAX
        if excess > 0:
            raise Refused(
                f"run_dir {run_dir}: {excess} bytes too long for the socket of node"
                f" {node.name}; choose a shorter --run-dir"
            )


def _folder(run_dir: Path, node: PlannedNode) -> Path:
    return run_dir / "nodes" / encode_token(node.name)


def pod_folders(run_dir: Path) -> str:
    """Every node's folder of pods, as a pattern."""
    return f"{glob.escape(str(run_dir))}/nodes/*/pods"


def make_node(run_dir: Path, node: PlannedNode, doors: InstanceDoors) -> NodeState:
    """Folders of its own for one node's agent, pods and CNI configuration."""
    door = doors.door(node.instance)
    folder = _folder(run_dir, node)
    state = NodeState(
        name=node.name,
        instance=node.instance,
        zone=node.zone,
        address=node.address,
        namespace_pid=door.pid if door is not None else None,
        netns_path=door.netns if door is not None else None,
        run_dir=folder / "run",
        state_dir=folder / "state",
        pod_dir=folder / "pods",
        cni_conf_dir=folder / "cni",
        cni_bin_dir=folder / "bin",
    )
    for each in (
        state.run_dir,
        state.state_dir,
        state.pod_dir,
        state.cni_conf_dir,
        state.cni_bin_dir,
    ):
        each.mkdir(mode=0o700, parents=True)
    return state
