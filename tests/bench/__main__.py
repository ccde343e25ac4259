"""``python -m tests.bench [FIGURE…]``: measure figures, one JSON line each.

Without a name every figure is measured, each family in a process of its own, and
docs/benchmarks.md is written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any, Final

from berth.programs import base_environment, python_module
from tests.bench import page
from tests.bench.families import FAMILIES, FIGURES
from tests.bench.plugins import install_baseline

_FAMILY_S_MAX: Final = 600.0


def main() -> None:
    names = [figure.name for figure in FIGURES]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("figure", nargs="*", metavar="FIGURE", help=", ".join(names))
    wanted = parser.parse_args().figure
    for name in wanted:
        if name not in names:
            parser.error(f"figure {name!r} is not known; known: {', '.join(names)}")
    problem = install_baseline()
    if problem is not None:
        sys.stderr.write(f"no CNI baseline: {problem}\n")
    if wanted:
        _measure(wanted)
    else:
        _measure_all()


def _measure(wanted: list[str]) -> None:
    """In this process, which may move into namespaces of its own: one family only."""
    families = [x for x in FAMILIES if any(figure.name in wanted for figure in x.figures)]
    if len(families) > 1:
        for family in families:
            for line in _lines([each.name for each in family.figures if each.name in wanted]):
                _say(line)
        return
    for measured in families[0].measure():
        if measured.figure.name in wanted:
            _say(measured.line())


def _measure_all() -> None:
    found: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        for line in _lines([figure.name for figure in family.figures]):
            _say(line)
            body = json.loads(line)
            found[body.pop("figure")] = body
    page.write(page.measured(found))


def _lines(names: list[str]) -> list[str]:
    sys.stderr.write(f"measuring {', '.join(names)}\n")
    done = subprocess.run(
        [*python_module("tests.bench"), *names],
        env=base_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_FAMILY_S_MAX,
    )
    return done.stdout.splitlines()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
