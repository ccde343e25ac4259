"""A service of ours as a process that may be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from berth.programs import base_environment
from shared.kernel.syscalls import die_with_parent

_STOP_S: Final = 15.0


class Service:
    """Started again by its world whenever it is not held down."""

    def __init__(
        self, name: str, command: Sequence[str], settings: Mapping[str, str], log_file: Path
    ) -> None:
        self.name = name
        self.log_file = log_file
        self.is_held_down = False
        self.starts = 0
        self._command = list(command)
        self._settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=base_environment() | self._settings,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        assert self._process is not None, "the service was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> bool:
        """kill -9; whether there was anything to kill."""
        return self._end(signal.SIGKILL)

    def freeze(self) -> bool:
        return self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def stop(self) -> bool:
        """As a roll-out does: it may finish what it took."""
        self.thaw()
        if not self._signal(signal.SIGTERM):
            return False
        assert self._process is not None, "it was just signalled"
        try:
            await asyncio.to_thread(self._process.wait, _STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        return True

    def _end(self, signum: signal.Signals) -> bool:
        if not self._signal(signum):
            return False
        assert self._process is not None, "it was just signalled"
        self._process.wait()
        return True

    def _signal(self, signum: signal.Signals) -> bool:
        if not self.is_running:
            return False
        assert self._process is not None, "it runs"
        os.kill(self._process.pid, signum)
        return True
