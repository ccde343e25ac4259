"""The demo's life: manifest first, then everything up, the story, and all of it down again.

Ctrl-C (or SIGTERM) at any point ends the story; what was started is then taken down in order,
and a second Ctrl-C does not cut that short.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import aiohttp

from berth.manifests.reader import Workload
from berth.operator import open_operator
from berth.playground.detached import start_detached, stop_detached
from berth.playground.playground import Playground, ProgressStep, StartOptions
from berth.playground.state import PlaygroundState, default_playground_dir
from berth.playground.topology import Topology
from shared.ids import PodName

from .cast import Cast
from .checks import Score
from .own_enis import PARK_AFTER_S
from .report import ConsoleReport, QuietReport, Report, console, show_summary
from .returns import COOLING_S
from .stage import Stage
from .story import tell
from .workloads import Chosen, choose
from .world import World

EXIT_NOT_KEPT: Final = 1
EXIT_INTERRUPTED: Final = 130  # as a shell says it: 128 + SIGINT


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    run_dir: Path
    manifest: Path | None
    topology: Topology
    keep: bool
    is_quiet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended, for the shell and for programs."""

    score: Score
    seconds: float
    was_interrupted: bool

    @property
    def status(self) -> int:
        if self.was_interrupted:
            return EXIT_INTERRUPTED
        return 0 if self.score.is_kept else EXIT_NOT_KEPT

    def summary(self) -> dict[str, object]:
        return {
            "is_kept": self.score.is_kept and not self.was_interrupted,
            "seconds": round(self.seconds, 1),
            "checks": [asdict(check) for check in self.score.checks],
        }


async def run_demo(options: DemoOptions) -> Outcome:
    """Raises a BerthError in one line for what cannot be run or started."""
    rng = random.Random()
    chosen = choose(options.manifest, rng)
    report = QuietReport() if options.is_quiet else ConsoleReport(console())
    score = Score()
    loop = asyncio.get_running_loop()
    began = loop.time()
    telling = asyncio.create_task(_tell(options, chosen, score, report, rng), name="demo")
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, _cancel_once, telling)
    was_interrupted = False
    try:
        await telling
    except asyncio.CancelledError:
        was_interrupted = True
        report.line("interrupted: everything that was started is down again")
    seconds = loop.time() - began
    if not was_interrupted:
        show_summary(report, score, seconds=seconds)
        if options.keep:
            _show_how_to_look_around(report, options, chosen.pods[-1].name)
    return Outcome(score=score, seconds=seconds, was_interrupted=was_interrupted)


def _cancel_once(task: asyncio.Task[None]) -> None:
    """What cleans up after the first Ctrl-C is not to be cut short by a second."""
    if not task.cancelling():
        task.cancel()


async def _tell(
    options: DemoOptions, chosen: Chosen, score: Score, report: Report, rng: random.Random
) -> None:
    report.heading(f"Start: {chosen.source}, {len(chosen.pods)} pods")
    report.table(
        ("workload", "pods", "policy", "image and command (shown, not run)"),
        [_shown(workload) for workload in chosen.manifest.workloads],
    )
    for name in chosen.manifest.skipped:
        report.line(f"{name} starts no pod and is left out")
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(_playground(options, report))
        stage = await Stage.open(state, stack, stays=options.keep)
        async with (
            open_operator(state) as bus,
            aiohttp.ClientSession() as http,
        ):
            world = World(state=state, bus=bus, http=http)
            await tell(Cast(world, stage, score, report, rng), chosen)


def _shown(workload: Workload) -> tuple[object, ...]:
    container = workload.containers[0]
    command = " ".join((container.image, *container.command))
    title = f"{workload.kind} {workload.name}"
    return title, workload.replicas, workload.network.policy, command


@asynccontextmanager
async def _playground(options: DemoOptions, report: Report) -> AsyncIterator[PlaygroundState]:
    """Everything of Berth; in the background and left up with `keep`, unless it fails."""

    def step(done: ProgressStep) -> None:
        report.line(f"{done.what}: {done.detail} ({done.seconds:.1f} s)")

    start = StartOptions(cooling_s=COOLING_S, park_after_s=PARK_AFTER_S)
    if not options.keep:
        playground = await Playground.start(
            run_dir=options.run_dir, topology=options.topology, options=start, report=step
        )
        try:
            yield playground.state
        finally:
            await playground.stop()
        return
    state = start_detached(
        run_dir=options.run_dir, topology=options.topology, options=start, report=step
    )
    try:
        yield state
    except BaseException:
        stop_detached(options.run_dir)
        raise


def _show_how_to_look_around(report: Report, options: DemoOptions, pod: PodName) -> None:
    report.heading(f"All of it is still up, in {options.run_dir}")
    is_default = options.run_dir == default_playground_dir().absolute()
    place = "" if is_default else f" --run-dir {options.run_dir}"
    rows = [
        (f"berth {command}{place}", words)
        for command, words in (
            ("pod list", "pods, addresses, nodes"),
            (f"pod why {pod}", "why a pod has its address, or what it waits for"),
            ("lease list", "who has the right to which address"),
            ("node list", "nodes and their ENIs"),
            ("status", "what runs, and where it listens"),
            ("down", "stop all of it"),
        )
    ]
    report.table(("command", "shows"), rows)
