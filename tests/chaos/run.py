"""One run: a workload goes on while nemeses break things, then all is healed and compared."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from shared.errors import BerthError
from tests.chaos import checkers
from tests.chaos.books import Books
from tests.chaos.checkers import STARTS_MIN, Violation
from tests.chaos.evidence import keep_evidence
from tests.chaos.history import History, Outcome
from tests.chaos.nemeses import NEMESES, OF_CLUSTERS, STEPPED_CLOCK
from tests.chaos.reading import read_books
from tests.chaos.runtime import Running
from tests.chaos.workloads import SETTINGS, WORKLOADS, Stage
from tests.chaos.world import World, world

_BEFORE_S: Final = 1.0  # the workload is under way before anything breaks
_BETWEEN_S: Final = (0.3, 1.2)
_QUIET_S: Final = 60.0  # within which everything must have come to rest
_LOOK_S: Final = 0.5
_REST_S: Final = 2.5  # longer than any interval of the world's services but the sweep's
_STOP_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one workload under one nemesis came to."""

    workload: str
    nemesis: str
    seed: int
    ok: int
    fail: int
    info: int
    faults: int
    bites: int
    next_answer_s: float  # the longest, from a fault to the answer of an ADD asked since
    healed_s: float
    violations: tuple[Violation, ...]


async def run(
    workload: str,
    nemeses: Sequence[str],
    *,
    seed: int,
    seconds: float,
    on_row: Callable[[Row], None],
    evidence: Path | None = None,
) -> list[Row]:
    """One world; a row for each nemesis, in turn. `evidence`: a folder for what violated."""
    rows = []
    is_clustered = any(each in OF_CLUSTERS for each in nemeses)
    has_clocks = STEPPED_CLOCK in nemeses
    settings = SETTINGS.get(workload)
    async with world(settings, is_clustered=is_clustered, has_clocks=has_clocks) as found:
        left: list[Running] = []
        for nemesis in nemeses:
            stage = Stage(found, workload, f"{seed}/{workload}/{nemesis}")
            await stage.clear(left)
            rows.append(await _row(stage, workload, nemesis, seed=seed, seconds=seconds))
            on_row(rows[-1])
            left = stage.left
            if rows[-1].violations:
                if evidence is not None:
                    await keep_evidence(found, evidence / f"{workload}-{nemesis}")
                break  # what is wrong in these books would be told again and again
    return rows


async def _row(stage: Stage, workload: str, nemesis: str, *, seed: int, seconds: float) -> Row:
    found = stage.world
    history, began_s = found.history, time.monotonic()
    name = f"{seed}/{workload}/{nemesis}"
    going_on = asyncio.create_task(_going_on(stage, workload), name=name)
    mending = asyncio.create_task(found.keep_mending(), name="mend")
    try:
        await _break(found, history, nemesis, random.Random(name), seconds=seconds)
        await found.heal()
        whole_s = time.monotonic()
        await _work_again(history, whole_s)
        stage.end()
        async with asyncio.timeout(_STOP_S):
            await going_on
        healed_s = time.monotonic()
        left = await come_to_rest(found, history)
    finally:
        for task in (going_on, mending):
            task.cancel()
        await asyncio.gather(going_on, mending, return_exceptions=True)
    here = history.since(began_s)
    return Row(
        workload=workload,
        nemesis=nemesis,
        seed=seed,
        ok=here.count(Outcome.OK),
        fail=here.count(Outcome.FAIL),
        info=here.count(Outcome.INFO),
        faults=len(here.faults),
        bites=here.bites(),
        next_answer_s=here.next_answer_s(),
        healed_s=time.monotonic() - healed_s,
        violations=(
            *checkers.of_history(history),
            *left,
            *checkers.standstill(here, healed_s=whole_s),
            *checkers.proved_nothing(here),
        ),
    )


async def _going_on(stage: Stage, workload: str) -> None:
    await WORKLOADS[workload](stage)


async def _break(
    found: World, history: History, nemesis: str, rng: random.Random, *, seconds: float
) -> None:
    await asyncio.sleep(_BEFORE_S)
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        with history.breaking(nemesis) as fault:
            await (NEMESES | OF_CLUSTERS)[nemesis](found, rng, fault)
        await asyncio.sleep(rng.uniform(*_BETWEEN_S))


async def _work_again(history: History, whole_s: float) -> None:
    """Until enough pods start; a workload whose pods do not is told by the checkers."""
    while time.monotonic() < whole_s + _QUIET_S:
        if len(history.started(since_s=whole_s)) >= STARTS_MIN:
            return
        await asyncio.sleep(_LOOK_S)


async def come_to_rest(found: World, history: History) -> list[Violation]:
    """Wait until the books agree and stay as they are; what is wrong when they do not."""
    until_s = time.monotonic() + _QUIET_S
    wrong: list[Violation] = [Violation(checker="comes to rest", detail="books unreadable")]
    earlier: Books | None = None
    while time.monotonic() < until_s:
        with suppress(BerthError, RedisError, OSError):  # a store on its way up
            books = await read_books(found)
            wrong = checkers.of_books(history, books, now_s=time.monotonic())
            if not wrong and earlier is not None:
                wrong = checkers.unrest(earlier, books)
                if not wrong:
                    return []
            earlier = books if not wrong else None
        await asyncio.sleep(_REST_S if earlier is not None else _LOOK_S)
    return wrong
