"""A node as its parent process has it: the plugin to call, and the agent that may be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from berth.programs import base_environment, python_module
from services.node_agent.cni.binary import PLUGIN_NAME, plugin_path
from tests.bench.plugins import Plugin

COOLING_S: Final = 130.0
PODS_FILE: Final = "pods.json"
AGENT: Final = "services.node_agent.main"  # the module that is its process


@dataclass(slots=True, kw_only=True)
class Node:
    """A node of ours: its plugin, and its agent's process."""

    folder: Path
    plugin: Plugin
    agent_pid: int
    _asked: IO[bytes]
    _said: IO[bytes]

    @property
    def netns(self) -> str:
        return f"/proc/{self.agent_pid}/ns/net"

    def kill_agent(self) -> None:
        os.kill(self.agent_pid, signal.SIGKILL)

    def told(self) -> dict[str, str]:
        """Each address' state as its agents reported it last."""
        self._asked.write(b"\n")
        self._asked.flush()
        found: dict[str, str] = json.loads(self._said.readline())
        return found

    def await_agent(self) -> None:
        """The next one serves: the spool is worked off."""
        self.agent_pid = _read_pid(self._said, self.folder)


@contextmanager
def node(
    addresses: int,
    *,
    cooling_s: float = COOLING_S,
    agent: str = AGENT,
    pods: Sequence[str] = (),
) -> Iterator[Node]:
    """In a process of its own, with namespaces of its own; nothing of it is left.

    With `pods` an API server tells of them, and a kubelet takes devices.
    """
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the book belongs on tmpfs
    folder = Path(tempfile.mkdtemp(prefix="berth-bench-", dir=base))
    if pods:
        (folder / PODS_FILE).write_text(json.dumps(list(pods)))
    process = subprocess.Popen(
        [
            *python_module("tests.bench.node"),
            str(folder),
            str(addresses),
            str(cooling_s),
            agent,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=base_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        pid = _read_pid(process.stdout, folder)
        yield Node(
            folder=folder,
            plugin=_plugin(folder, knows_pods=bool(pods)),
            agent_pid=pid,
            _asked=process.stdin,
            _said=process.stdout,
        )
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def _read_pid(said: IO[bytes], folder: Path) -> int:
    line = said.readline()
    if not line:
        log = (folder / "agent.log").read_text(errors="replace")
        raise RuntimeError(f"the node did not start: {log[-2000:]}")
    return int(line)


def _plugin(folder: Path, *, knows_pods: bool) -> Plugin:
    configuration = {
        "cniVersion": "1.0.0",
        "name": "berth",
        "type": PLUGIN_NAME,
        "runDir": str(folder),
    }
    if not knows_pods:
        configuration["podSource"] = "none"
    return Plugin(
        name="berth",
        folder=plugin_path().parent,
        configuration=configuration,
        tells_uid=not knows_pods,  # the API server's are its own
    )
