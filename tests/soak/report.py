"""What a soak came to: samples as CSV, the outcome as JSON, and the table that people read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.soak.verdict import Row, Series, Verdict

RESULT: Final = "result.json"
SAMPLES: Final = "samples.csv"
_HEAD: Final = (
    f"{'':<34} {'first':>9} {'1st third':>9} {'2nd third':>9} {'3rd third':>9} {'last':>9}"
    f" {'per hour':>9} {'grown':>9} {'allowed':>9}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One soak."""

    when: str
    machine: str
    command: str
    seed: int
    minutes: float
    counts: dict[str, int]  # operations by verb and outcome, restarts of agents
    wrong: tuple[str, ...]  # what must not happen, in words
    rows: tuple[Row, ...]
    series: tuple[Series, ...]

    @property
    def growing(self) -> list[str]:
        return [row.name for row in self.rows if row.verdict is Verdict.GROWS]

    @property
    def is_judged(self) -> bool:
        return not any(row.verdict is Verdict.TOO_SHORT for row in self.rows)

    @property
    def is_good(self) -> bool:
        return not self.growing and not self.wrong


def write(folder: Path, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / SAMPLES).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("series", "unit", "at_s", "value"))
        for series in outcome.series:
            rows.writerows((series.name, series.unit, *point) for point in series.points)
    (folder / RESULT).write_text(f"{json.dumps(_told(outcome), indent=1)}\n", encoding="utf-8")


def _told(outcome: Outcome) -> dict[str, Any]:
    told = asdict(outcome)
    told["is_good"] = outcome.is_good
    return told


def table(rows: Sequence[Row]) -> str:
    return "\n".join([_HEAD, *(_line(row) for row in rows)])


def _line(row: Row) -> str:
    name = f"{row.name}, {row.unit}" if row.unit else row.name
    allowed = "-" if row.allowed is None else f"{row.allowed:.4g}"
    cells = (row.first, *row.thirds, row.last)
    return (
        f"{name:<34} {' '.join(f'{cell:>9.4g}' for cell in cells)} {row.per_hour:>+9.3g}"
        f" {row.grown:>+9.3g} {allowed:>9} {row.verdict}"
    )


def sentence(outcome: Outcome) -> str:
    """The verdict."""
    if outcome.wrong:
        return f"failed: {_listed(outcome.wrong)}"
    if outcome.growing:
        return f"failed: beyond its tolerance grows {_listed(outcome.growing)}"
    if not outcome.is_judged:
        return "too short to judge growth"
    return "nothing grows beyond its tolerance"


def _listed(names: Iterable[str]) -> str:
    return "; ".join(names)
