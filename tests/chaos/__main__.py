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
from typing import Final

from shared.kernel.conversation import Conversation
from shared.kernel.links import set_up
from shared.kernel.netns import isolate
from shared.kernel.syscalls import can_administer
from tests.chaos.checkers import worst
from tests.chaos.nemeses import NEMESES
from tests.chaos.plan import plan
from tests.chaos.run import Row, run
from tests.chaos.workloads import WORKLOADS

_SEEDS: Final = 2**32
_SECONDS: Final = 6.0
_LOOPBACK: Final = 1
_HEAD: Final = (
    f"{'workload':<10} {'nemesis':<20} {'ok':>6} {'fail':>5} {'info':>5} {'faults':>6}"
    f" {'bit':>4} {'quiet after':>11} violations"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats an earlier run's decisions")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="of faults a pair")
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="all")
    parser.add_argument("--nemesis", action="append", choices=NEMESES, help="all")
    parser.add_argument("--json", action="store_true", help="the rows, and no table")
    given = parser.parse_args()
    _own_mounts()
    logging.disable(logging.CRITICAL)  # of agents that are cut off, killed, and start again
    seed = random.SystemRandom().randrange(_SEEDS) if given.seed is None else given.seed
    chosen = given.workload or list(WORKLOADS)
    if given.nemesis:
        pairs = {workload: list(given.nemesis) for workload in chosen}
    else:
        pairs = plan(chosen, list(NEMESES), seed=seed)

    began_s = time.monotonic()
    say = (lambda _: None) if given.json else _say
    say(f"seed {seed}\n{_HEAD}")
    rows: list[Row] = []
    for workload, todo in pairs.items():
        while todo:
            found = asyncio.run(run(workload, todo, seed=seed, seconds=given.seconds))
            for row in found:
                say(_line(row))
            rows += found
            todo = todo[len(found) :]
    say(_summary(rows, seed, time.monotonic() - began_s))
    if given.json:
        _say(json.dumps([asdict(row) for row in rows]))
    return 1 if any(row.violations for row in rows) else 0


def _own_mounts() -> None:
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
        f" {row.faults:>6} {row.bites:>4} {row.healed_s:>9.1f} s {told}"
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
