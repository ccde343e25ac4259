"""`python -m tests.simulation [FIRST LAST]`: worlds of those seeds; a failing one is told.

    python -m tests.simulation 1 20000          two processes; seeds per minute at the end
    python -m tests.simulation 4711             one, with its trace
    python -m tests.simulation mutants [LAST]   which promise each mutant is caught by

Strings hash the same way in every run here: a seed's trace is always the same.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from typing import Final

from .mutants import MUTANTS, caught_by
from .world import Outcome, simulate

_PROCESSES: Final = 2
_TOLD_EVERY: Final = 500
_BATCH: Final = 10


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": "0"})
    words = sys.argv[1:]
    if words[:1] == ["mutants"]:
        return _mutants(int(words[1]) if len(words) > 1 else 100)
    if len(words) == 1:
        return _one(int(words[0]))
    first, last = (int(each) for each in words or ("1", "1000"))
    return _many(first, last)


def _one(seed: int) -> int:
    outcome = simulate(seed)
    _say("\n".join(outcome.trace))
    _say(f"digest {outcome.digest}: {_summary([outcome])}")
    return 1 if outcome.violations else 0


def _many(first: int, last: int) -> int:
    began_s = time.monotonic()
    outcomes: list[Outcome] = []
    for outcome in _outcomes(first, last):
        outcomes.append(outcome)
        for violation in outcome.violations[:3]:
            _say(f"seed {outcome.seed}: {violation}")
        if len(outcomes) % _TOLD_EVERY == 0:
            _say(f"{len(outcomes)} seeds, {time.monotonic() - began_s:.0f} s")
    failed = [outcome.seed for outcome in outcomes if outcome.violations]
    per_minute = len(outcomes) / (time.monotonic() - began_s) * 60
    _say(f"{_summary(outcomes)}; {per_minute:.0f} seeds a minute")
    for seed in failed[:10]:
        _say(f"replay: python -m tests.simulation {seed}")
    if sum(outcome.faults for outcome in outcomes) == 0:
        _say("proved nothing: no fault was made")
        return 1
    return 1 if failed else 0


def _outcomes(first: int, last: int) -> Iterator[Outcome]:
    with multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool:
        yield from pool.imap_unordered(simulate, range(first, last + 1), chunksize=_BATCH)


def _mutants(last: int) -> int:
    survivors = 0
    for mutant in MUTANTS:
        found = caught_by(mutant, range(1, last + 1), lambda seed: simulate(seed).violations)
        survivors += found is None
        _say(f"{mutant.what}: {found or 'SURVIVES'}")
    return 1 if survivors else 0


def _summary(outcomes: list[Outcome]) -> str:
    failed = sum(1 for outcome in outcomes if outcome.violations)
    adds = sum(outcome.adds for outcome in outcomes)
    faults = sum(outcome.faults for outcome in outcomes)
    moves = sum(outcome.moves for outcome in outcomes)
    return (
        f"{len(outcomes)} seeds: {adds} ADDs, {faults} faults, {moves} moves;"
        f" {failed} with violations"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
