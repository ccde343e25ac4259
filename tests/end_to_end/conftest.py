"""A folder to run the command line in, and what is left of it taken away."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.berth_command import Berth


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: those of Unix sockets are limited to 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="berth-e2e-"))
    try:
        yield folder / "run"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def berth(run_dir: Path) -> AsyncIterator[Berth]:
    command = Berth(run_dir=run_dir, started=[])
    try:
        yield command
        if (run_dir / "playground.json").exists():
            await command.run("down")
    finally:
        for process in command.started:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                await process.wait()
