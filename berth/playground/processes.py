"""A child process that is kept running until it is stopped: started, watched, started again.

A child dies with its parent (by the kernel's parent-death signal), has a process group of its
own (a terminal's Ctrl-C reaches the parent alone, which then stops its children in order) and
writes its output to a log file.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.errors import BerthError, Refused, Unavailable
from shared.runtime.backoff import backoff_s

_PR_SET_PDEATHSIG: Final = 1
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_POLL_S: Final = 0.03  # between two looks at whether a child is ready
_KILL_S: Final = 5.0  # a killed process is gone by then, unless the kernel holds it
_LOG_BYTES_READ: Final = 16 * 1024
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

Probe = Callable[[str], Awaitable[str | None]]
"""Asks whether a child is ready, given what it has said since it was started: None, or what is
still missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One child: what to run, and how to tell that it serves."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log_file: Path
    is_ready: Probe
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 12.0  # after SIGTERM; longer than a service's drain
    # What the last lines of the log mean, in one line for people; by default: the last one.
    explain: Callable[[str], str] = field(default=lambda tail: last_line(tail))


class Process:
    """One supervised child."""

    def __init__(
        self,
        spec: ProcessSpec,
        rng: random.Random,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec = spec
        self.restarts = 0
        self._on_restart = on_restart
        self._rng = rng
        self._child: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._log_start = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def log_file(self) -> Path:
        return self.spec.log_file

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self._child is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        """Start and wait until it serves. Raises in one line, with the child gone again."""
        await self._spawn()
        try:
            await self.wait_ready(self.spec.ready_timeout_s)
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until the child serves; before the first time, its end is the answer."""
        missing: str | None = "not started"
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if self.is_running:
                        missing = await self.spec.is_ready(self._first_words())
                        if missing is None:
                            return
                    elif self._watcher is None:
                        raise Refused(f"{self.name} ended at start: {self._last_words()}")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Unavailable(
                f"{self.name}: not ready after {timeout_s:.0f} s: {missing};"
                f" log {self.log_file}"
            ) from None

    async def kill(self) -> None:
        """End the child as a crash does; its supervisor starts it again."""
        child = self._child
        if child is not None and child.returncode is None:
            child.kill()
            async with asyncio.timeout(_KILL_S):
                await child.wait()

    async def stop(self) -> None:
        """SIGTERM, time to drain, then SIGKILL. Returns when the process is gone."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        child = self._child
        if child is None or child.returncode is not None:
            return
        with suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(self.spec.stop_timeout_s):
                await child.wait()
        except TimeoutError:
            await self.kill()

    async def _spawn(self) -> None:
        log = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        parent = os.getpid()
        try:
            self._log_start = os.fstat(log).st_size
            self._child = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.environment),
                process_group=0,
                preexec_fn=lambda: _die_with(parent),
            )
        except OSError as error:
            raise Refused(f"{self.name}: cannot run {self.spec.argv[0]}: {error}") from error
        finally:
            os.close(log)

    async def _watch(self) -> None:
        waits = backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)
        while True:
            if self._child is not None:
                await self._child.wait()
            await asyncio.sleep(next(waits))
            self.restarts += 1
            with suppress(BerthError):  # cannot be run now: tried again after a longer wait
                await self._spawn()
                self._on_restart()

    def _first_words(self) -> str:
        return read_log(self.log_file, self._log_start)

    def _last_words(self) -> str:
        size = self.log_file.stat().st_size
        return self.spec.explain(
            read_log(self.log_file, max(self._log_start, size - _LOG_BYTES_READ))
        )


def read_log(file: Path, start: int) -> str:
    """What a log holds from an offset on, as far as is worth reading."""
    try:
        with file.open("rb") as stream:
            stream.seek(start)
            return stream.read(_LOG_BYTES_READ).decode(errors="replace")
    except OSError:
        return ""


def last_line(tail: str) -> str:
    """What a service says last: on an expected failure, the one line that names it."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"


def _die_with(parent: int) -> None:
    # Runs between fork and exec. The parent may have gone before the signal was asked for.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
