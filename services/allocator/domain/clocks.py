"""Whether the store's clock may be believed when leases are ended by it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

DIFFERENCE_MAX = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Three clocks, read at one moment."""

    store: datetime
    own: datetime
    monotonic_s: float  # never steps: it tells which of two readings jumped


class ClockGuard:
    """Compares each reading with the last one. A jump stops expiry for as long as it was wide:
    a lease whose time was skipped is still kept for all of it."""

    def __init__(self) -> None:
        self._last: Reading | None = None
        self._jump = timedelta(0)
        self._held_until_s = 0.0

    def doubt(self, now: Reading) -> str | None:
        """Why no lease may be ended now; None: the clocks agree."""
        last, self._last = self._last, now
        if last is not None:
            passed = timedelta(seconds=now.monotonic_s - last.monotonic_s)
            jump = now.store - last.store - passed
            if abs(jump) > DIFFERENCE_MAX:
                self._jump = jump
                until_s = now.monotonic_s + abs(jump).total_seconds()
                self._held_until_s = max(self._held_until_s, until_s)
        apart = now.store - now.own
        if abs(apart) > DIFFERENCE_MAX:
            return f"the store's clock and this one are {apart.total_seconds():.1f} s apart"
        left_s = self._held_until_s - now.monotonic_s
        if left_s > 0:
            return (
                f"the store's clock jumped by {self._jump.total_seconds():.1f} s:"
                f" nothing expires for another {left_s:.0f} s"
            )
        return None
