"""Time as an argument: services take a Clock, so that a test can hold it still."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a service may know of time."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC: for what people and other machines read."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never step back: for every span and deadline on this machine."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()
