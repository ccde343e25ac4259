"""An allocator beside an `EniWorld`: the same cluster, bus and store."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.allocator.config import AllocatorSettings
from services.allocator.main import serve
from tests.support.eni_world import EniWorld


@asynccontextmanager
async def allocator(world: EniWorld, **changes: object) -> AsyncIterator[None]:
    """One replica in this process, until the block ends."""
    stop = asyncio.Event()
    settings = AllocatorSettings.model_validate(_settings(world, changes))
    task = asyncio.create_task(serve(settings, stop), name="allocator")
    try:
        yield
    finally:
        stop.set()
        await task


@asynccontextmanager
async def allocator_process(
    world: EniWorld, **changes: object
) -> AsyncIterator[asyncio.subprocess.Process]:
    """One replica as a process of its own, to be killed."""
    settings = {
        f"BERTH_ALLOCATOR_{name.upper()}": str(value)
        for name, value in _settings(world, changes).items()
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.allocator.main",
        env={"PATH": os.environ["PATH"], **settings},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _settings(world: EniWorld, changes: dict[str, object]) -> dict[str, object]:
    common = ("cluster", "nats_url", "redis_url")
    return {name: world.settings[name] for name in common} | {"claim_timeout_s": 1.0} | changes
