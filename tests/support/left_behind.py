"""What is on the machine: compared before and after, nothing may be left."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


def processes_with(text: str) -> set[int]:
    """Processes that name `text` (a test's own folder) in their arguments or environment."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if text.encode() in said:
                found.add(int(process.name))
    return found


async def ended(pid: int, *, within_s: float) -> None:
    """Wait for the end of a process that is not this one's child."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        loop.add_reader(descriptor, event.set)
        async with asyncio.timeout(within_s):
            await event.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
