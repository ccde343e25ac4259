"""Hold a playground up until a signal: the whole life of a supervisor, in front or detached."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from berth.playground.playground import Playground, Report, StartOptions
from berth.playground.state import PlaygroundState
from berth.playground.topology import Topology


async def hold(
    *,
    run_dir: Path,
    topology: Topology,
    options: StartOptions,
    report: Report,
    on_started: Callable[[PlaygroundState], None],
) -> None:
    """Start, wait for SIGINT or SIGTERM, stop. A signal during the start undoes it."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, signalled.set)
    starting = asyncio.create_task(
        Playground.start(run_dir=run_dir, topology=topology, options=options, report=report),
        name="start",
    )
    waiting = asyncio.create_task(signalled.wait(), name="wait for a signal")
    await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
    if signalled.is_set() and not starting.done():
        starting.cancel()
        with suppress(asyncio.CancelledError):
            playground = await starting  # it may have been done in the same moment
            await playground.stop()
        return
    try:
        playground = await starting
        try:
            on_started(playground.state)
            await waiting
        finally:
            await playground.stop()
    finally:
        waiting.cancel()
