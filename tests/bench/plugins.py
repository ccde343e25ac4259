"""CNI plugins as a runtime executes them, timed from exec to exit; fresh sandboxes for them."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from shared.kernel.conversation import Conversation
from shared.kernel.links import links
from shared.kernel.netns import new_netns

BASELINE_BIN: Final = Path("/usr/lib/cni")  # where Debian puts them
_PACKAGE: Final = "containernetworking-plugins"
_CALL_S: Final = 60.0
_LOOPBACK: Final = 1


class Missing(Exception):
    """The baseline cannot run here; the text is one line that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One network configuration, and the folder its plugin lies in."""

    name: str
    folder: Path
    configuration: dict[str, Any] = field(hash=False)
    tells_uid: bool = True

    def start(self, verb: str, sandbox: Sandbox) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [self.folder / str(self.configuration["type"])],
            env=self._environment(verb, sandbox),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None, "asked for as a pipe"
        process.stdin.write(json.dumps(self.configuration).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def finish(self, process: subprocess.Popen[bytes], verb: str) -> None:
        """Wait for its exit; a figure of calls that failed would mean nothing."""
        stdout, stderr = process.communicate(timeout=_CALL_S)
        if process.returncode != 0:
            raise RuntimeError(f"{self.name} {verb}: {stdout.decode()} {stderr.decode()}")

    def call(self, verb: str, sandbox: Sandbox) -> float:
        """Seconds from exec to exit."""
        began_s = time.perf_counter()
        self.finish(self.start(verb, sandbox), verb)
        return time.perf_counter() - began_s

    def _environment(self, verb: str, sandbox: Sandbox) -> dict[str, str]:
        cid = sandbox.container_id
        return {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": cid,
            "CNI_NETNS": sandbox.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder),
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;"
            f"K8S_POD_NAME=p-{cid};K8S_POD_INFRA_CONTAINER_ID={cid}"
            + (f";K8S_POD_UID={cid}" if self.tells_uid else ""),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A fresh network namespace, held by this process."""

    container_id: str
    descriptor: int

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def close(self) -> None:
        os.close(self.descriptor)


def new_sandbox() -> Sandbox:
    return Sandbox(container_id=uuid.uuid4().hex, descriptor=new_netns())


@contextmanager
def sandboxes(count: int) -> Iterator[list[Sandbox]]:
    made: list[Sandbox] = []
    try:
        for _ in range(count):
            made.append(new_sandbox())  # noqa: PERF401 # what was made is freed if one fails
        yield made
    finally:
        for sandbox in made:
            sandbox.close()


def until_unlinked(sandbox: Sandbox) -> None:
    """Links that ours deletes behind its answer would be paid for by whoever comes next."""
    deadline_s = time.monotonic() + 10
    with Conversation(sandbox.descriptor) as inside:
        while any(link.index != _LOOPBACK for link in links(inside)):
            if time.monotonic() > deadline_s:
                raise RuntimeError("a link outlived its DEL by 10 s")
            time.sleep(0.001)


def baseline(data_dir: Path) -> Plugin:
    """``ptp`` + ``host-local``. Raises Missing, with the reason, when they are not here."""
    if not (BASELINE_BIN / "ptp").exists():
        raise Missing(f"{BASELINE_BIN}/ptp is not there: install Debian's {_PACKAGE}")
    return Plugin(
        name="ptp + host-local",
        folder=BASELINE_BIN,
        configuration={
            "cniVersion": "1.0.0",
            "name": "baseline",
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "subnet": "10.213.0.0/16",
                "dataDir": str(data_dir),
            },
        },
    )


def install_baseline() -> str | None:
    """Install the package if it is missing and we may; what went wrong, in one line."""
    if (BASELINE_BIN / "ptp").exists():
        return None
    if os.geteuid() != 0:
        return f"{_PACKAGE} is not installed, and only root may install it"
    done = subprocess.run(
        ["apt-get", "install", "-y", "-q", _PACKAGE],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return None if done.returncode == 0 else f"apt-get: {done.stderr.strip()[-200:]}"
