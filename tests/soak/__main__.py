"""``python -m tests.soak``: all of Berth under a steady load, and what of it grows.

Two allocators, two eni_managers, bus, store, the simulated cloud and four nodes. Every process'
memory and descriptors, the store's memory and the streams' lengths are looked at again and
again. Exit status 1: something grew beyond its tolerance, or went wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from tests.bench.report import machine
from tests.chaos.__main__ import own_mounts
from tests.chaos.world import world
from tests.soak import report
from tests.soak.load import EXPIRES_AFTER_S, Load
from tests.soak.report import Outcome
from tests.soak.samples import HERE, Samples
from tests.soak.verdict import judge

_SEEDS: Final = 2**32
_MINUTES: Final = 30.0
_LOOKS: Final = 180  # of a whole run
_LOOK_S_MAX: Final = 10.0
_SAYS: Final = 30  # lines of progress
_DISK_BYTES: Final = 2 << 30
_STOP_S: Final = 60.0
_ADDS_PER_S_MIN: Final = 1.0  # fewer prove nothing
_SETTINGS: Final = {
    "BERTH_ALLOCATOR_DEFAULT_EXPIRES_AFTER_S": str(EXPIRES_AFTER_S),
    "BERTH_LOG_LEVEL": "WARNING",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=minutes_of, default=_MINUTES, help="how long (30)")
    parser.add_argument("--seed", type=int, help="repeats an earlier run's decisions")
    parser.add_argument(
        "--into", type=Path, default=Path("build/soak"), help="folder of samples (build/soak)"
    )
    given = parser.parse_args()
    own_mounts()
    logging.disable(logging.CRITICAL)  # of agents that are stopped, and start again
    seed = random.SystemRandom().randrange(_SEEDS) if given.seed is None else given.seed
    _say(f"seed {seed}, {given.minutes:g} minutes")
    # As the services do: the standard library's loop receives into buffers of 256 KiB, whose
    # remains tear the heap: this process grew by 40 MiB in half an hour for it.
    outcome = uvloop.run(_soak(given.minutes, seed))
    report.write(given.into, outcome)
    _say(report.table(outcome.rows))
    _say(f"{_counted(outcome)}; seed {seed}; samples in {given.into}")
    _say(report.sentence(outcome))
    return 0 if outcome.is_good else 1


def minutes_of(text: str) -> float:
    """Raises ArgumentTypeError for what is no sensible length."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.1 <= found <= 10_000:
        raise argparse.ArgumentTypeError(f"minutes {text!r}: a number from 0.1 to 10000")
    return found


async def _soak(minutes: float, seed: int) -> Outcome:
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(world(_SETTINGS, disk_bytes=_DISK_BYTES))
        load = Load(found, seed)
        samples = Samples(found, load)
        going_on = asyncio.create_task(load.run(), name="load")
        try:
            await _watch(load, samples, going_on, minutes * 60)
            load.stop()
            await asyncio.wait({going_on}, timeout=_STOP_S)
            if going_on.done():
                await going_on  # raises what went wrong in it
            for name in load.still_running():
                load.tally.blame(f"{name} has not ended {_STOP_S:.0f} s after it was told to")
        finally:
            going_on.cancel()
            await asyncio.gather(going_on, return_exceptions=True)
    tally = load.tally
    if tally.adds < _ADDS_PER_S_MIN * minutes * 60:
        tally.blame(f"{tally.adds} pods got an address: too few to prove anything")
    return Outcome(
        when=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        machine=machine(),
        command=f"python -m tests.soak --minutes {minutes:g} --seed {seed}",
        seed=seed,
        minutes=minutes,
        counts={"restarts": tally.restarts, **dict(sorted(tally.counts.items()))},
        wrong=tuple(tally.wrong),
        rows=tuple(judge(each) for each in samples.series),
        series=tuple(samples.series),
    )


async def _watch(
    load: Load, samples: Samples, going_on: asyncio.Task[None], span_s: float
) -> None:
    """Look until the time is over; raises what ended the load before."""
    every_s = min(_LOOK_S_MAX, span_s / _LOOKS)
    began_s = time.monotonic()
    looks = round(span_s / every_s)
    for look in range(looks + 1):
        await asyncio.wait({going_on}, timeout=began_s + look * every_s - time.monotonic())
        if going_on.done():
            await going_on
            raise RuntimeError("the load ended by itself")
        await samples.take()
        if look % max(1, looks // _SAYS) == 0:
            _say(_progress(load, samples, time.monotonic() - began_s, span_s))


def _progress(load: Load, samples: Samples, at_s: float, span_s: float) -> str:
    shown = (HERE, "allocator-1", "eni_manager-1", "nats", "redis")
    memory = ", ".join(f"{name} {samples.latest(f'{name}: rss'):.1f}" for name in shown)
    return (
        f"{at_s:5.0f} of {span_s:.0f} s: {load.tally.adds} ADDs,"
        f" {load.tally.restarts} restarts, MiB: {memory}"
    )


def _counted(outcome: Outcome) -> str:
    return ", ".join(f"{count} {what}" for what, count in outcome.counts.items())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
