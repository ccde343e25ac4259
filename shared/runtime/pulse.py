"""Wakes everybody who waits: an event that is over as soon as it was heard."""

from __future__ import annotations

import asyncio


class Pulse:
    """Wakes everybody who waits now, each time it is given."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def give(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """True when woken, False when the time ran out."""
        waited_for = self._next
        try:
            async with asyncio.timeout(timeout_s):
                await waited_for.wait()
        except TimeoutError:
            return False
        return True
