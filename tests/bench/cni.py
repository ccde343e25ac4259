"""The CNI figures: the compiled plugin and a real agent beside ``ptp`` + ``host-local``."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.kernel.conversation import Conversation
from shared.kernel.links import set_up
from shared.kernel.netns import isolate
from tests.bench.figures import Family, Figure, Measured, median, quantile
from tests.bench.nodes import node
from tests.bench.phases import phases_us
from tests.bench.plugins import (
    Missing,
    Plugin,
    Sandbox,
    baseline,
    new_sandbox,
    sandboxes,
    until_unlinked,
)
from tests.bench.processes import rss_mib

ROUNDS: Final = 300
PARALLEL_ROUNDS: Final = 30
PARALLEL: Final = 8
BURSTS: Final = 7
BURST: Final = 16
HELD: Final = 2000
FULL_ROUNDS: Final = 100
_WARM_UP: Final = 10
_QUIET_S: Final = 0.005  # the kernel frees namespaces in the background
_LOOPBACK: Final = 1
_MS: Final = 1000.0

ADD_P50 = Figure(
    name="cni_add_p50",
    unit="ms",
    what="ADD, exec to exit, fresh sandboxes, idle, alternating with ptp + host-local; median",
    aim=0.3,
)
ADD_P99 = Figure(name="cni_add_p99", unit="ms", what="the same ADDs, 99th percentile", aim=0.4)
DEL_P50 = Figure(name="cni_del_p50", unit="ms", what="DEL of the same rounds, median", aim=0.1)
BURST_RATE = Figure(
    name="cni_burst",
    unit="ADD/s",
    what="16 ADDs at once, to the last exit; median of seven bursts",
    aim=2.5,
    higher_is_better=True,
)
ADD_FULL = Figure(
    name="cni_add_full",
    unit="ms",
    what="ADD median on a node with 2,000 pods wired, over that on an empty one, alternating",
    aim=1.1,
)


@dataclass(slots=True)
class Times:
    """Seconds of one plugin's calls."""

    adds: list[float]
    deletes: list[float]


def measure() -> list[Measured]:
    """Idle rounds, then some in parallel, then bursts."""
    with ExitStack() as stack:
        _own_namespace()
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(
            node(ROUNDS + _WARM_UP + PARALLEL * PARALLEL_ROUNDS + BURST * BURSTS + 50)
        )
        theirs, why = _baseline(data)
        sides = [ours.plugin] if theirs is None else [ours.plugin, theirs]
        times = {side.name: Times([], []) for side in sides}
        for number in range(ROUNDS + _WARM_UP):
            for side in sides:
                add_s, delete_s = _round(side)
                if number >= _WARM_UP:
                    times[side.name].adds.append(add_s * _MS)
                    times[side.name].deletes.append(delete_s * _MS)
        parallel = {side.name: [] for side in sides}  # type: dict[str, list[float]]
        for _ in range(PARALLEL_ROUNDS):
            for side in sides:
                parallel[side.name] += _parallel(side)
        rates = {side.name: [] for side in sides}  # type: dict[str, list[float]]
        for _ in range(BURSTS):
            for side in sides:
                rates[side.name].append(_burst(side))
    mine, other = times["berth"], None if theirs is None else times[theirs.name]
    detail: dict[str, Any] = {"rounds": ROUNDS, "baseline": why or "ptp + host-local"}
    with_parallel = detail | {
        "parallel": PARALLEL,
        "parallel_p50_ms": {name: round(median(each), 2) for name, each in parallel.items()},
        "phases_us": phases_us(),
    }
    return [
        Measured(
            figure=ADD_P50,
            value=median(mine.adds),
            baseline=None if other is None else median(other.adds),
            detail=with_parallel,
        ),
        Measured(
            figure=ADD_P99,
            value=quantile(mine.adds, 0.99),
            baseline=None if other is None else quantile(other.adds, 0.99),
            detail=detail,
        ),
        Measured(
            figure=DEL_P50,
            value=median(mine.deletes),
            baseline=None if other is None else median(other.deletes),
            detail=detail,
        ),
        Measured(
            figure=BURST_RATE,
            value=median(rates["berth"]),
            baseline=None if theirs is None else median(rates[theirs.name]),
            detail={"at_once": BURST, "bursts": BURSTS, "baseline": detail["baseline"]},
        ),
    ]


def measure_full() -> list[Measured]:
    """Two nodes side by side: one carries 2,000 pods, the other none."""
    with ExitStack() as stack:
        _own_namespace()
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        full = stack.enter_context(node(HELD + FULL_ROUNDS + 100))
        empty = stack.enter_context(node(FULL_ROUNDS + 100))
        for sandbox in stack.enter_context(sandboxes(HELD)):
            full.plugin.call("ADD", sandbox)
        times: dict[int, list[float]] = {full.agent_pid: [], empty.agent_pid: []}
        for number in range(FULL_ROUNDS + _WARM_UP):
            for side in (full, empty):
                add_s, _ = _round(side.plugin)
                if number >= _WARM_UP:
                    times[side.agent_pid].append(add_s * _MS)
        detail = {"held": HELD, "rounds": FULL_ROUNDS, "agent_rss_mib": rss_mib(full.agent_pid)}
        detail |= _host_local_full(data)
    return [
        Measured(
            figure=ADD_FULL,
            value=median(times[full.agent_pid]),
            baseline=median(times[empty.agent_pid]),
            detail=detail,
        )
    ]


def _host_local_full(data: Path) -> dict[str, Any]:
    """The same question to ptp + host-local: its addresses are files of one folder."""
    try:
        none, full = baseline(data / "none"), baseline(data / "full")
    except Missing as reason:
        return {"host_local": str(reason)}
    reserved = data / "full" / "baseline"
    reserved.mkdir(parents=True)
    for number in range(2, HELD + 2):
        held = f"10.213.{number >> 8}.{number & 255}"
        (reserved / held).write_text(f"held-{number}\r\neth0")
    (reserved / "last_reserved_ip.0").write_text(held)
    times: dict[str, list[float]] = {"none": [], "full": []}
    for _ in range(20):
        times["none"].append(_round(none)[0])
        times["full"].append(_round(full)[0])
    return {"host_local_ratio": round(median(times["full"]) / median(times["none"]), 2)}


def _own_namespace() -> None:
    """The baseline's links belong nowhere else, and go with this process."""
    isolate()
    with Conversation() as here:
        here.do([set_up(_LOOPBACK)])


def _baseline(data: Path) -> tuple[Plugin | None, str]:
    try:
        return baseline(data), ""
    except Missing as reason:
        return None, str(reason)


def _round(side: Plugin) -> tuple[float, float]:
    """ADD and DEL of one fresh sandbox, in seconds."""
    sandbox = new_sandbox()
    try:
        took = side.call("ADD", sandbox), side.call("DEL", sandbox)
        until_unlinked(sandbox)
    finally:
        sandbox.close()
    time.sleep(_QUIET_S)
    return took


def _parallel(side: Plugin) -> list[float]:
    """Milliseconds of ADDs that run at once, each from its own exec to its own exit."""
    from concurrent.futures import ThreadPoolExecutor

    with sandboxes(PARALLEL) as made, ThreadPoolExecutor(PARALLEL) as threads:
        took = list(threads.map(lambda each: side.call("ADD", each) * _MS, made))
        _clear(side, made)
    return took


def _burst(side: Plugin) -> float:
    """ADDs per second, from the first exec to the last exit."""
    with sandboxes(BURST) as made:
        began_s = time.perf_counter()
        running = [side.start("ADD", sandbox) for sandbox in made]
        for process in running:
            side.finish(process, "ADD")
        took_s = time.perf_counter() - began_s
        _clear(side, made)
    return BURST / took_s


def _clear(side: Plugin, made: list[Sandbox]) -> None:
    for sandbox in made:
        side.call("DEL", sandbox)
        until_unlinked(sandbox)


FAMILIES: Final = (
    Family(figures=(ADD_P50, ADD_P99, DEL_P50, BURST_RATE), measure=measure),
    Family(figures=(ADD_FULL,), measure=measure_full),
)
