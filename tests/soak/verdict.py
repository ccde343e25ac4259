"""What of a run's samples grew (pure): medians of its thirds, slope, and whether it may be.

The slope is Theil and Sen's, the median of the slopes between all pairs: a few outliers, a heap
that is swept now and then, do not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from statistics import median
from typing import Final

JUDGED_S_MIN: Final = 300.0  # after the warm-up: a shorter slope is noise, drawn out to an hour
_HOUR_S: Final = 3600.0
_WARM_UP_SHARE: Final = 1 / 3
_WARM_UP_S_MAX: Final = 600.0
_POINTS_MIN: Final = 10  # after the warm-up


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How much a series may grow: once, as a heap finds its size, and with every hour."""

    once: float
    per_hour: float

    def allowed(self, span_s: float) -> float:
        return self.once + self.per_hour * span_s / _HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One thing that was looked at again and again."""

    name: str
    unit: str
    tolerance: Tolerance | None  # None: told, not judged
    points: tuple[tuple[float, float], ...]  # (seconds since the beginning, value)


class Verdict(StrEnum):
    FLAT = "flat"
    GROWS = "grows"
    TOLD = "told"
    TOO_SHORT = "too short"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One series' line in the table."""

    name: str
    unit: str
    first: float
    thirds: tuple[float, float, float]  # the median of each
    last: float
    judged_s: float  # the time after the warm-up
    per_hour: float  # the slope in it
    grown: float  # what that slope makes of it
    allowed: float | None  # of that growth
    verdict: Verdict


def warm_up_s(span_s: float) -> float:
    """How long caches fill and heaps find their size, of a run that long."""
    return min(_WARM_UP_S_MAX, span_s * _WARM_UP_SHARE)


def judge(series: Series) -> Row:
    """Raises ValueError for a series without a point."""
    if not series.points:
        raise ValueError(f"series {series.name!r} has no point")
    span_s = series.points[-1][0]
    settled = [point for point in series.points if point[0] >= warm_up_s(span_s)]
    judged_s = settled[-1][0] - settled[0][0]
    per_s = slope(settled)
    grown = per_s * judged_s
    allowed = None if series.tolerance is None else series.tolerance.allowed(judged_s)
    if allowed is None:
        verdict = Verdict.TOLD
    elif judged_s < JUDGED_S_MIN or len(settled) < _POINTS_MIN:
        verdict = Verdict.TOO_SHORT
    else:
        verdict = Verdict.GROWS if grown > allowed else Verdict.FLAT
    return Row(
        name=series.name,
        unit=series.unit,
        first=series.points[0][1],
        thirds=_thirds(series.points, span_s),
        last=series.points[-1][1],
        judged_s=judged_s,
        per_hour=per_s * _HOUR_S,
        grown=grown,
        allowed=allowed,
        verdict=verdict,
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of a line through them, per second; 0 where there is no telling."""
    found = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in combinations(points, 2)
        if later[0] > earlier[0]
    ]
    return median(found) if found else 0.0


def _thirds(points: Sequence[tuple[float, float]], span_s: float) -> tuple[float, float, float]:
    """Medians; an empty third repeats the one before."""
    found: list[float] = []
    for third in range(3):
        begins_s, ends_s = span_s * third / 3, span_s * (third + 1) / 3
        inside = [v for at_s, v in points if begins_s <= at_s and (at_s < ends_s or third == 2)]
        found.append(median(inside) if inside else found[-1])
    return found[0], found[1], found[2]
