"""What a figure is: ours beside a baseline that was measured in the same run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure by name, with the unit it is told in and the aim for its ratio or value."""

    name: str
    unit: str
    what: str  # for the report: how it is measured
    aim: float | None  # None: told, not judged
    is_ratio: bool = True  # else the value itself is what has an aim
    higher_is_better: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure's outcome; `baseline` None: the other side could not run, detail says why."""

    figure: Figure
    value: float
    baseline: float | None
    detail: dict[str, Any]

    @property
    def ratio(self) -> float | None:
        return None if not self.baseline else self.value / self.baseline

    def line(self) -> str:
        """The one JSON line that a program reads."""
        return json.dumps(
            {
                "figure": self.figure.name,
                "value": _short(self.value),
                "unit": self.figure.unit,
                "baseline": _short(self.baseline),
                "ratio": _short(self.ratio),
                "detail": self.detail,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Figures that one run measures together."""

    figures: tuple[Figure, ...]
    measure: Callable[[], list[Measured]]


def quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
