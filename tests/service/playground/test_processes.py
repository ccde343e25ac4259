"""A supervised child: started, watched, started again, and gone when it should be."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from berth.playground.processes import Process, ProcessSpec, read_log
from shared.errors import Refused, Unavailable
from shared.kernel.processes import started_at
from tests.support.left_behind import ended

READY = "import sys, time; print('serving', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}"
PATIENCE_S = 10.0


def child(
    tmp_path: Path,
    program: str,
    *,
    stop_timeout_s: float = 5.0,
    ready_timeout_s: float = PATIENCE_S,
) -> Process:
    async def is_ready(words: str) -> str | None:
        return None if "serving" in words else "it has not said so"

    return Process(
        ProcessSpec(
            name="child",
            argv=(sys.executable, "-c", program),
            environment=os.environ,
            log_file=tmp_path / "child.log",
            is_ready=is_ready,
            ready_timeout_s=ready_timeout_s,
            stop_timeout_s=stop_timeout_s,
        ),
        random.Random(1),
    )


async def test_a_child_is_ready_by_its_own_word_and_stops(tmp_path: Path) -> None:
    process = child(tmp_path, READY)

    await process.start()
    pid = process.pid
    await process.stop()

    assert pid is not None
    assert started_at(pid) is None
    assert not process.is_running


async def test_a_child_that_ends_at_start_says_why(tmp_path: Path) -> None:
    process = child(tmp_path, "import sys; sys.exit('child: port 4222 is in use')")

    with pytest.raises(Refused, match="child ended at start: child: port 4222 is in use"):
        await process.start()


async def test_a_child_that_never_serves_is_taken_down(tmp_path: Path) -> None:
    process = child(tmp_path, "import time; time.sleep(60)", ready_timeout_s=0.3)

    with pytest.raises(Unavailable, match="it has not said so"):
        await process.start()

    assert not process.is_running


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    process = child(tmp_path, READY)
    await process.start()
    first = process.pid

    await process.kill()
    await process.wait_ready(PATIENCE_S)

    assert process.restarts == 1
    assert process.pid not in (first, None)
    await process.stop()


async def test_a_child_that_does_not_drain_is_killed(tmp_path: Path) -> None:
    process = child(tmp_path, STUBBORN, stop_timeout_s=0.3)
    await process.start()

    await process.stop()

    assert not process.is_running


async def test_a_stopped_child_stays_down(tmp_path: Path) -> None:
    process = child(tmp_path, READY)
    await process.start()

    await process.stop()
    await process.stop()

    assert process.restarts == 0
    assert process.pid is None


async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    parent_program = f"""
import asyncio, os, random, sys
from pathlib import Path
from berth.playground.processes import Process, ProcessSpec
async def ready(words): return None if "serving" in words else "no"
async def main():
    process = Process(ProcessSpec(name="child", argv=(sys.executable, "-c", {READY!r}),
        environment=dict(os.environ), log_file=Path({str(log)!r}), is_ready=ready),
        random.Random(1))
    await process.start()
    print(process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent_program, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), PATIENCE_S))

    parent.send_signal(signal.SIGKILL)
    await parent.wait()

    await ended(pid, within_s=PATIENCE_S)
    assert started_at(pid) is None
    assert "serving" in read_log(log, 0)
