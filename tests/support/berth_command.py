"""The command line as a user runs it: a process of its own, in a folder of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from berth.programs import base_environment, python_module

DEMO_S = 180.0  # a small machine that is busy with other tests


@dataclass(slots=True, kw_only=True)
class Berth:
    """The command line, run in a folder; what still runs at the test's end is killed."""

    run_dir: Path
    started: list[asyncio.subprocess.Process]

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *python_module("berth.main"),
            *arguments,
            *("--run-dir", str(self.run_dir)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=base_environment(),
            start_new_session=True,
        )
        self.started.append(process)
        return process

    async def run(self, *arguments: str) -> tuple[int | None, str, str]:
        """Its status, and what it said on standard output and standard error."""
        process = await self.start(*arguments)
        async with asyncio.timeout(DEMO_S):
            stdout, stderr = await process.communicate()
        return process.returncode, stdout.decode(), stderr.decode()
