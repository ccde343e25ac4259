"""How long a subnet's free addresses last, by how fast they went lately (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

# Looks that are this old count half: a burst of pods is forgotten within some minutes.
_HALF_LIFE_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Free addresses at the last look, and how many a second they fell before it."""

    free: int
    at_s: float  # monotonic
    per_s: float = 0.0

    def seen(self, free: int, now_s: float) -> Decline:
        span_s = now_s - self.at_s
        if span_s <= 0:
            return self
        weight = 1 - math.pow(0.5, span_s / _HALF_LIFE_S)
        fell_per_s = (self.free - free) / span_s
        return Decline(
            free=free, at_s=now_s, per_s=self.per_s + weight * (fell_per_s - self.per_s)
        )

    @property
    def lasts_s(self) -> float:
        """Infinite while they do not fall."""
        return self.free / self.per_s if self.per_s > 0 else math.inf
