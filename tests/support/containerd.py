"""Debian's containerd with folders and sockets of its own, and a small client of its CRI.

It runs in the namespace of the thread that starts it, so a test's node namespace is its node.
The only image is made here: one static program that waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from services.node_agent.adapters.protobuf import Fields, encode
from shared.kernel.syscalls import unmount
from tests.support.left_behind import processes_with

IMAGE: Final = "berth.test/pause:1"
REFERENCE_PLUGINS: Final = Path("/usr/lib/cni")
NEEDED: Final = ("containerd", "runc", "ctr", "cc", "iptables")
_PATIENCE_S: Final = 60.0
_MEDIA: Final = "application/vnd.oci.image"
_PAUSE: Final = """
#include <signal.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
"""
_CONFIG: Final = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
  address = "{folder}/c.sock"
[ttrpc]
  address = "{folder}/c.sock.ttrpc"
[debug]
  address = ""
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/bin"
    conf_dir = "{folder}/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def missing() -> str | None:
    """Why no containerd can run here, if so."""
    if os.geteuid() != 0 or "4294967295" not in Path("/proc/self/uid_map").read_text():
        return "containerd with runc needs the machine's own root"
    absent = [name for name in NEEDED if shutil.which(name) is None]
    absent += [
        str(path)
        for path in (REFERENCE_PLUGINS / "loopback", REFERENCE_PLUGINS / "portmap")
        if not path.exists()
    ]
    return f"not installed (see .ci/packages): {', '.join(absent)}" if absent else None


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    id: str
    address: str


class Containerd:
    """One containerd; a restart finds its sandboxes again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin_dir, self.conf_dir = folder / "bin", folder / "conf"
        self.socket = folder / "c.sock"
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None

    async def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "containerd", "--config", self.folder / "config.toml", stdout=log, stderr=log
            )
        self._channel = grpc.aio.insecure_channel(f"unix:{self.socket}")
        await self._ask("Version", b"")

    async def kill(self) -> None:
        """kill -9: the sandboxes run on."""
        assert self._process is not None, "only a started one is killed"
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        assert self._channel is not None
        await self._channel.close()

    async def run(self, name: str, *, host_port: int | None = None) -> Sandbox:
        """RunPodSandbox; raises AioRpcError with what the network said."""
        config = _sandbox_config(self.folder / "logs", name, host_port)
        sandbox = (await self._ask("RunPodSandbox", encode((1, config)))).text(1)
        status = (await self._ask("PodSandboxStatus", encode((1, sandbox)))).message(1)
        return Sandbox(id=sandbox, address=status.message(5).text(1))

    async def stop(self, sandbox: str) -> None:
        await self._ask("StopPodSandbox", encode((1, sandbox)))
        await self._ask("RemovePodSandbox", encode((1, sandbox)))

    async def ready(self) -> set[str]:
        """The sandboxes that run."""
        listed = await self._ask("ListPodSandbox", b"")
        return {each.text(1) for each in listed.messages(1) if each.number(3) == 0}

    async def _ask(self, method: str, request: bytes) -> Fields:
        assert self._channel is not None, "only a started one is asked"
        call = self._channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
        return Fields(await call(request, timeout=_PATIENCE_S, wait_for_ready=True))


@asynccontextmanager
async def containerd(folder: Path) -> AsyncIterator[Containerd]:
    """Started, with its image; whatever the test leaves is stopped, unmounted and removed."""
    server = Containerd(folder)
    for each in (server.bin_dir, server.conf_dir):
        each.mkdir(parents=True)
    for plugin in ("loopback", "portmap", "bandwidth"):
        shutil.copy(REFERENCE_PLUGINS / plugin, server.bin_dir)
    (folder / "config.toml").write_text(_CONFIG.format(folder=folder, image=IMAGE))
    await asyncio.to_thread(_make_image, folder)
    await server.start()
    try:
        imported = await asyncio.create_subprocess_exec(
            "ctr", "--address", server.socket, "--namespace", "k8s.io",
            "images", "import", folder / "image.tar", stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await imported.wait() == 0, (folder / "log").read_text()[-2000:]
        yield server
    finally:
        with suppress(grpc.aio.AioRpcError):
            for sandbox in await server.ready():
                await server.stop(sandbox)
        await server.kill()
        _end_shims(folder)
        _unmount_below(folder)
        for cgroup in Path("/sys/fs/cgroup").glob(f"**/{_cgroup(folder)}"):
            cgroup.rmdir()


def _sandbox_config(logs: Path, name: str, host_port: int | None) -> bytes:
    metadata = encode((1, name), (2, f"uid-{name}"), (3, "shop"))
    pid_of_container = encode((1, encode((2, 1))))  # the network's is the sandbox's own
    ports = b"" if host_port is None else encode((2, 80), (3, host_port))
    return encode(
        (1, metadata),
        (3, str(logs)),
        *(((5, ports),) if ports else ()),
        (8, encode((1, f"/{_cgroup(logs.parent)}"), (2, pid_of_container))),
    )


def _cgroup(folder: Path) -> str:
    """What its sandboxes' cgroups are below: the test's own folder's name."""
    return folder.parent.name


def _make_image(folder: Path) -> None:
    """An OCI archive with one layer that holds one program."""
    source = folder / "pause.c"
    source.write_text(_PAUSE)
    subprocess.run(["cc", "-O2", "-static", "-o", folder / "pause", source], check=True)
    layer = _tar({"pause": (folder / "pause").read_bytes()})
    config = _json(
        architecture="amd64",
        os="linux",
        config={"Entrypoint": ["/pause"]},
        rootfs={"type": "layers", "diff_ids": [_digest(layer)]},
    )
    manifest = _json(
        schemaVersion=2,
        mediaType=f"{_MEDIA}.manifest.v1+json",
        config=_described(config, "config.v1+json"),
        layers=[_described(layer, "layer.v1.tar")],
    )
    named = {"annotations": {"io.containerd.image.name": IMAGE}}
    index = _json(schemaVersion=2, manifests=[_described(manifest, "manifest.v1+json") | named])
    blobs = {f"blobs/sha256/{_digest(it)[7:]}": it for it in (layer, config, manifest)}
    layout = _json(imageLayoutVersion="1.0.0")
    files = {"oci-layout": layout, "index.json": index} | blobs
    (folder / "image.tar").write_bytes(_tar(files))


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _json(**body: Any) -> bytes:
    return json.dumps(body).encode()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _described(blob: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{_MEDIA}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _end_shims(folder: Path) -> None:
    """What was started for this folder's socket and outlived it."""
    for process in processes_with(f"{folder}/c.sock"):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([each for each in mounts if Path(each).is_relative_to(folder)]):
        with suppress(OSError):
            unmount(mount)
