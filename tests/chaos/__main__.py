"""``python -m tests.chaos``: workloads under faults, and the table of what came of it.

Without choices every nemesis meets two workloads. The seed decides who meets whom, what each
workload does and what each nemesis breaks; how the processes take turns is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from shared.kernel.conversation import Conversation
from shared.kernel.links import set_up
from shared.kernel.netns import isolate
from shared.kernel.syscalls import can_administer
from tests.chaos.checkers import worst
from tests.chaos.nemeses import NEMESES, OF_CLUSTERS, STEPPED_CLOCK
from tests.chaos.plan import plan
from tests.chaos.run import Row, run
from tests.chaos.workloads import WORKLOADS
from tests.support.wall_clocks import NEEDED, library

_SEEDS: Final = 2**32
_SECONDS: Final = 6.0
_LOOPBACK: Final = 1
_ON_CLUSTERS: Final = 2  # workloads, where nothing is chosen
_HEAD: Final = (
    f"{'workload':<10} {'nemesis':<20} {'ok':>6} {'fail':>5} {'info':>5} {'faults':>6}"
    f" {'bit':>4} {'next answer':>11} {'quiet after':>11} violations"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats an earlier run's decisions")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="of faults a pair")
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="all")
    parser.add_argument(
        "--nemesis", action="append", choices=[*NEMESES, *OF_CLUSTERS], help="all"
    )
    parser.add_argument("--json", action="store_true", help="the rows, and no table")
    parser.add_argument(
        "--evidence", type=Path, help="folder for logs, store and events of what violated"
    )
    given = parser.parse_args()
    if STEPPED_CLOCK in (given.nemesis or []) and library() is None:
        parser.error(f"--nemesis {STEPPED_CLOCK} needs {NEEDED}")
    own_mounts()
    logging.disable(logging.CRITICAL)  # of agents that are cut off, killed, and start again
    seed = random.SystemRandom().randrange(_SEEDS) if given.seed is None else given.seed
    worlds = _worlds(given.workload or list(WORKLOADS), given.nemesis, seed)

    began_s = time.monotonic()
    say = (lambda _: None) if given.json else _say
    if given.nemesis is None and library() is None:
        say(f"left out: {STEPPED_CLOCK}, which needs {NEEDED}")
    say(f"seed {seed}\n{_HEAD}")
    rows: list[Row] = []
    for workload, todo in worlds:
        while todo:
            found = asyncio.run(
                run(
                    workload,
                    todo,
                    seed=seed,
                    seconds=given.seconds,
                    on_row=lambda row: say(_line(row)),
                    evidence=given.evidence,
                )
            )
            rows += found
            todo = todo[len(found) :]
    say(_summary(rows, seed, time.monotonic() - began_s))
    if given.json:
        _say(json.dumps([asdict(row) for row in rows]))
    return 1 if any(row.violations for row in rows) else 0


def _worlds(
    workloads: list[str], nemeses: list[str] | None, seed: int
) -> list[tuple[str, list[str]]]:
    """A workload and its nemeses each; those of clusters have a world of their own."""
    found: list[tuple[str, list[str]]] = []
    possible = _possible() if nemeses is None else nemeses
    for known, met_by in ((NEMESES, workloads), (OF_CLUSTERS, workloads[:_ON_CLUSTERS])):
        chosen = [each for each in known if each in possible]
        if nemeses is None:
            found += plan(met_by, chosen, seed=seed).items()
        elif chosen:
            found += [(each, chosen) for each in workloads]
    return [(workload, list(those)) for workload, those in found if those]


def _possible() -> list[str]:
    """Clocks are stepped where there is what steps them."""
    every = [*NEMESES, *OF_CLUSTERS]
    return [each for each in every if each != STEPPED_CLOCK or library() is not None]


def own_mounts() -> None:
    """Disks that run full are mounted: without the right to, in a user namespace."""
    if can_administer():
        return
    isolate()
    with Conversation() as conversation:
        conversation.do([set_up(_LOOPBACK)])


def _line(row: Row) -> str:
    told = "none" if not row.violations else f"{len(row.violations)}\n{worst(row.violations)}"
    return (
        f"{row.workload:<10} {row.nemesis:<20} {row.ok:>6} {row.fail:>5} {row.info:>5}"
        f" {row.faults:>6} {row.bites:>4} {row.next_answer_s:>9.2f} s {row.healed_s:>9.1f} s"
        f" {told}"
    )


def _summary(rows: list[Row], seed: int, took_s: float) -> str:
    return (
        f"{len(rows)} pairs, {sum(row.ok + row.fail + row.info for row in rows)} operations,"
        f" {sum(row.bites for row in rows)} faults that bit,"
        f" {sum(len(row.violations) for row in rows)} violations, {took_s:.0f} s; seed {seed}"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
