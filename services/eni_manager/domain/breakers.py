"""What keeps refusing is left alone for a while, longer each time (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

_FAILURES_MAX: Final = 3  # in a row, before it is left alone
_FIRST_S: Final = 5.0
_LONGEST_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Closed while calls are made; open while they are not. After its time one is tried."""

    failures: int = 0  # in a row
    closed_at_s: float = 0.0  # monotonic: tried again from here
    reason: str = ""  # the last refusal

    def is_open(self, now_s: float) -> bool:
        return now_s < self.closed_at_s

    def failed(self, now_s: float, reason: str) -> Breaker:
        failures = self.failures + 1
        over = failures - _FAILURES_MAX
        wait_s = min(_LONGEST_S, _FIRST_S * 2**over) if over >= 0 else 0.0
        return replace(self, failures=failures, closed_at_s=now_s + wait_s, reason=reason)
