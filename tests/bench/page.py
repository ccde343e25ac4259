"""docs/benchmarks.md and its charts, from docs/benchmarks.json; ``python -m tests.bench.page``.

The JSON holds every figure as it was measured; tables and charts are made of it alone. What
people wrote about the figures, from "How" on, is kept as the page has it. With ``--take FILE``
figures (the lines of `make bench FIGURE=…`) or a soak (its result.json) are taken over first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.bench.charts import charts
from tests.bench.families import FIGURES
from tests.bench.report import details, machine, soak_section, table, table_of_acquires

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = "benchmarks.md"
STORED: Final = "benchmarks.json"
CHARTS: Final = "charts"
_WRITTEN: Final = "\n## How\n"  # from here on people write
_HEAD: Final = """# Benchmarks

`make bench` measures every figure below and writes this page with its charts;
`make bench FIGURE=<name>` measures one and prints one JSON line, `make page TAKE=<file>` takes
such lines over, or the result of `make soak`. A baseline is measured in the same run,
alternating with ours, and figures are medians: compare ratios, because machines and hours
differ. Everything up to "How" is made from `benchmarks.json`.

Measured {measured}.
"""
_POINTS: Final = 60  # of a soak's series, that are kept for the chart
_DRAWN: Final = ("rss", "descriptors", "used memory", "messages")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What docs/benchmarks.json holds."""

    measured: str  # when, and on what
    notes: tuple[str, ...]  # what a reader must know of how it was measured, by hand
    figures: dict[str, dict[str, Any]]
    soak: dict[str, Any] | None

    @classmethod
    def read(cls, docs: Path = DOCS) -> Stored:
        told = json.loads((docs / STORED).read_text(encoding="utf-8"))
        return cls(
            measured=told["measured"],
            notes=tuple(told["notes"]),
            figures=told["figures"],
            soak=told.get("soak"),
        )

    def dumped(self) -> str:
        told: dict[str, Any] = {
            "measured": self.measured,
            "notes": self.notes,
            "figures": self.figures,
            "soak": self.soak,
        }

        return f"{_dumped(told, 3)}\n"


def _dumped(value: Any, depth: int) -> str:
    """JSON with a line for each entry, down to that depth: changes are seen line by line."""
    if depth == 0 or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    lines = [f"{json.dumps(name)}: {_dumped(each, depth - 1)}" for name, each in value.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def measured(figures: dict[str, dict[str, Any]], docs: Path = DOCS) -> Stored:
    """A whole run, just now and here; the soak is a run of its own, and stays."""
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return Stored(
        measured=f"{now} on {machine()}", notes=(), figures=figures, soak=Stored.read(docs).soak
    )


def files(stored: Stored, written: str) -> dict[str, str]:
    """Every generated file's text, by its path below docs; `written` is what people wrote."""
    drawn = charts(stored.figures, stored.soak)
    found = {f"{CHARTS}/{name}": text for name, text in drawn.items()}
    found[STORED] = stored.dumped()
    found[PAGE] = _page(stored, list(drawn), written)
    return found


def write(stored: Stored, docs: Path = DOCS) -> None:
    (docs / CHARTS).mkdir(exist_ok=True)
    for name, text in files(stored, written_by_people(docs)).items():
        (docs / name).write_text(text, encoding="utf-8")


def written_by_people(docs: Path = DOCS) -> str:
    _, mark, rest = (docs / PAGE).read_text(encoding="utf-8").partition(_WRITTEN)
    return mark + rest


def _page(stored: Stored, drawn: Sequence[str], written: str) -> str:
    figures = [each for each in FIGURES if each.name in stored.figures]
    parts = [_HEAD.format(measured=stored.measured)]
    parts += [f"{note}\n" for note in stored.notes]
    parts += [table(figures, stored.figures), "## Charts\n"]
    parts += [f"![{name.removesuffix('.svg')}]({CHARTS}/{name})\n" for name in drawn]
    parts += ["## Details\n", details(figures, stored.figures)]
    if "acquire_p50" in stored.figures:
        rows = stored.figures["acquire_p50"]["detail"]["rows"]
        parts += ["## One acquire, by allocators and requests in flight\n"]
        parts += ["`acquire_p50`, beside the echo of the same run: two cores for allocators,"]
        parts += ["bus, store, load and echo.\n", table_of_acquires(rows)]
    if stored.soak is not None:
        parts += ["## Half an hour under a steady load\n", soak_section(stored.soak)]
    return "\n".join(parts) + written


def taken(stored: Stored, text: str, when: str) -> Stored:
    """With what a file tells: a soak's result, or figures. Raises ValueError for else."""
    if text.startswith("{\n"):
        return replace(stored, soak=_soak_kept(json.loads(text)))
    known, found = {each.name for each in FIGURES}, dict(stored.figures)
    for line in filter(None, text.splitlines()):
        told = json.loads(line)
        name = told.pop("figure", None)
        if name not in known:
            raise ValueError(f"figure {name!r} is not known; known: {', '.join(sorted(known))}")
        found[name] = told | {"when": when}
    return replace(stored, figures=found)


def _soak_kept(result: dict[str, Any]) -> dict[str, Any]:
    """What the page needs of a soak's result, to four digits."""
    points = {
        series["name"]: _thinned(series["points"])
        for series in result["series"]
        if series["name"].partition(": ")[2] in _DRAWN
    }
    rows = [{name: _short(value) for name, value in row.items()} for row in result["rows"]]
    kept = ("when", "machine", "command", "minutes", "counts", "wrong", "is_good")
    return {name: result[name] for name in kept} | {"rows": rows, "points": points}


def _thinned(points: list[list[float]]) -> list[list[float]]:
    every = max(1, (len(points) - 1) // _POINTS)
    chosen = points[:-1][::every] + points[-1:]
    return [[round(at_s), _short(value)] for at_s, value in chosen]


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.page", description=__doc__)
    parser.add_argument("--take", type=Path, metavar="FILE", help="figures or a soak's result")
    given = parser.parse_args()
    stored = Stored.read()
    if given.take is not None:
        try:
            stored = taken(
                stored,
                given.take.read_text(encoding="utf-8"),
                f"{datetime.now(UTC):%Y-%m-%d}",
            )
        except (ValueError, KeyError, OSError) as error:
            parser.error(f"--take {given.take}: {error}")
    write(stored)
    sys.stdout.write(f"{DOCS / PAGE}\n")


if __name__ == "__main__":
    main()
