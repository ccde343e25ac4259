"""A node made of nothing but a namespace, where a runner and a plugin of the tests can live."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.pods.client import RunnerProcess
from berth.pods.runner import RunnerOptions
from berth.pods.sandbox import Sandbox
from shared.kernel.enter import enter_command


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A folder of its own, and a process that holds its namespace."""

    folder: Path
    instance: Sandbox

    def _enter(self, argv: Sequence[str]) -> list[str]:
        return enter_command(self.instance.pid, None, list(argv))

    async def start_runner(self, *, network_timeout_s: float = 10.0) -> RunnerProcess:
        options = RunnerOptions(
            socket=self.folder / "runner.sock",
            conf_dir=self.folder / "conf",
            bin_dir=self.folder / "bin",
            kept_dir=self.folder / "kept",
            until_pid=self.instance.pid,
            network_timeout_s=network_timeout_s,
            plugin_timeout_s=10.0,
        )
        return await RunnerProcess.start(self._enter, options, log_file=self.folder / "log")

    def refuse_next(self, *errors: dict[str, Any]) -> None:
        lines = [json.dumps(error) for error in errors]
        (self.folder / "plugin" / "refusals").write_text("\n".join(lines))

    def calls(self) -> list[dict[str, Any]]:
        """What the plugin was called with, oldest first."""
        file = self.folder / "plugin" / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()]

    def verbs(self) -> list[str]:
        return [call["environment"]["CNI_COMMAND"] for call in self.calls()]
