"""A third of everything killed at once during a storm: when the next ADD is answered.

The chaos suite's world with clusters of three: the journal's leader, the store's master, an
allocator, an eni_manager and an agent die together, five times in a world of its own each. Its
checkers then look at the history and the books: one wrong fails the figure.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from typing import Any, Final

import uvloop

from tests.bench.figures import Family, Figure, Measured, median
from tests.chaos import checkers
from tests.chaos.history import Outcome
from tests.chaos.nemeses.clusters import lose_a_third
from tests.chaos.run import come_to_rest
from tests.chaos.runtime import to_its_end
from tests.chaos.workloads import Stage, immediate_churn, scaling, stateful_set
from tests.chaos.world import World, world

LOSSES: Final = 5
_SEED: Final = 1
_BEFORE: Final = 50  # fixed pods that started before the loss
_AFTER: Final = 50  # and after it
_STEP_S_MAX: Final = 120.0
_LOOK_S: Final = 0.2

LOSE_A_THIRD = Figure(
    name="lose_a_third",
    unit="s",
    what="the journal's leader of three NATS nodes, the store's master, one of two allocators,"
    " one of two eni_managers and one of four agents killed at once while pods come and go on"
    " all nodes, to the next answer of an ADD of a fixed pod that was asked after it; median of"
    " five, each in a world of its own; nothing is lost and no address held twice",
    aim=None,
)


def measure() -> list[Measured]:
    logging.disable(logging.CRITICAL)  # of agents that are cut off, and one that is killed
    told = []
    for number in range(LOSSES):
        told.append(uvloop.run(_loss(number)))
        sys.stderr.write(f"loss {number + 1} of {LOSSES}: {told[-1]}\n")
    return [
        Measured(
            figure=LOSE_A_THIRD,
            value=median([each["next_s"] for each in told]),
            baseline=None,
            detail={"seed": _SEED, "losses": told},
        )
    ]


async def _loss(number: int) -> dict[str, Any]:
    """Raises RuntimeError when a checker finds anything wrong."""
    async with world(is_clustered=True) as found:
        stage = Stage(found, "storm", f"{_SEED}/{number}")
        going_on = asyncio.create_task(_storm(stage), name="storm")
        mending = asyncio.create_task(found.keep_mending(), name="mend")
        try:
            await _answered(found, _BEFORE, since_s=0.0)
            with found.history.breaking("lose-a-third") as fault:
                await lose_a_third(found, random.Random(f"{_SEED}/{number}"), fault)
            await _answered(found, _AFTER, since_s=time.monotonic())
            stage.end()
            async with asyncio.timeout(_STEP_S_MAX):
                await going_on
            left = await come_to_rest(found, found.history)
        finally:
            for task in (going_on, mending):
                task.cancel()
            await asyncio.gather(going_on, mending, return_exceptions=True)
        wrong = [*checkers.of_history(found.history), *left]
        if wrong:
            raise RuntimeError(checkers.worst(wrong))
        return {
            "what": fault.what,
            "next_s": round(found.history.next_answer_s(), 2),
            "answered": found.history.count(Outcome.OK),
            "refused": found.history.count(Outcome.FAIL),
            "unknown": found.history.count(Outcome.INFO),
            "wrong": len(wrong),
        }


async def _storm(stage: Stage) -> None:
    async with asyncio.TaskGroup() as group:
        for workload in (immediate_churn, stateful_set, scaling):
            group.create_task(to_its_end(workload(stage)), name=workload.__name__)


async def _answered(found: World, many: int, *, since_s: float) -> None:
    """Until so many fixed pods have started that were asked for from then on."""
    async with asyncio.timeout(_STEP_S_MAX):
        while True:
            if len(found.history.started(since_s=since_s)) >= many:
                return
            await asyncio.sleep(_LOOK_S)


FAMILIES: Final = (Family(figures=(LOSE_A_THIRD,), measure=measure),)
