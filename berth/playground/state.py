"""What a running playground tells other processes: one JSON file in its folder, no secrets.

The supervisor holds a lock for life: what a killed one left behind is known by its absence.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import berth
from shared.errors import NotFound, Refused
from shared.ids import ClusterName, InstanceId, NodeName, Zone
from shared.settings import default_run_dir

STATE_FILE: Final = "playground.json"
LOCK_FILE: Final = "playground.lock"

# Found from any directory, and (-P) never in the caller's own: it may hold a folder `shared`.
_ENTER: Final = (
    f"import sys; sys.path.insert(0, {str(Path(berth.__file__).resolve().parent.parent)!r});"
    " from shared.kernel.enter import main; main()"
)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ChildState(_Document):
    """One process of the playground. `started` is the kernel's own mark against reused ids."""

    name: str
    pid: Annotated[int, Field(ge=1)]
    started: int  # clock ticks after boot
    log_file: Path


class NodeState(_Document):
    """One node: its instance, and the folders that its agent works in."""

    name: NodeName
    instance: InstanceId
    zone: Zone
    address: IPv4Address | None
    namespace_pid: int | None  # a process inside the instance's namespaces; None: no network
    netns_path: Path | None  # its network namespace, as that process sees it; None: its own
    run_dir: Path  # agent.sock is here
    state_dir: Path
    pod_dir: Path  # pods as JSON: what PodSource reads
    cni_conf_dir: Path
    cni_bin_dir: Path

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside the instance. Refused without a network."""
        if self.namespace_pid is None:
            raise Refused(f"node {self.name}: the cloud was started without a network")
        place = ["--netns", str(self.netns_path)] if self.netns_path is not None else []
        pid = str(self.namespace_pid)
        return [sys.executable, "-P", "-c", _ENTER, "--pid", pid, *place, "--", *argv]


class PlaygroundState(_Document):
    """Where everything is."""

    run_dir: Path
    cluster: ClusterName
    supervisor_pid: int
    nats_url: str
    operator_key_file: Path
    redis_url: str
    cloud_url: str
    cloud_region: str
    cloud_secret_file: Path
    nodes: tuple[NodeState, ...]
    children: tuple[ChildState, ...]

    def node(self, name: str) -> NodeState:
        for node in self.nodes:
            if node.name == name:
                return node
        raise NotFound(f"node {name!r}: known: {', '.join(each.name for each in self.nodes)}")


def default_playground_dir() -> Path:
    named = os.environ.get("BERTH_RUN_DIR")
    return (Path(named) if named else default_run_dir()) / "playground"


def write_state(state: PlaygroundState) -> None:
    """Whoever reads the file reads all of it."""
    file = state.run_dir / STATE_FILE
    partial = file.with_suffix(".partial")
    partial.write_text(state.model_dump_json(indent=2), encoding="utf-8")
    partial.replace(file)


def read_state(run_dir: Path) -> PlaygroundState:
    """The running playground. Raises Refused in one line when there is none."""
    if not is_locked(run_dir):
        raise Refused(f"nothing runs in {run_dir}: start it with `berth up`")
    state = read_left_state(run_dir)
    if state is None:
        raise Refused(f"the playground in {run_dir} is still starting")
    return state


def read_left_state(run_dir: Path) -> PlaygroundState | None:
    """What a playground wrote, running or not; None when there is no (whole) file."""
    try:
        return PlaygroundState.model_validate_json((run_dir / STATE_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def take_lock(run_dir: Path) -> int:
    """Hold the folder for the life of this process. Raises Refused when another has it."""
    descriptor = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Refused(
            f"a playground runs in {run_dir} already: `berth down` ends it"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def lock_owner(run_dir: Path) -> int | None:
    """The supervisor's process id; known before everything serves, when there is no state."""
    try:
        return int((run_dir / LOCK_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def is_locked(run_dir: Path) -> bool:
    """Whether a supervisor lives."""
    try:
        descriptor = os.open(run_dir / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
