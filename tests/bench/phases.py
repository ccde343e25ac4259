"""Where the time of an ADD goes: the caller's clock and that of a timed agent side by side."""

from __future__ import annotations

import json
import time
from statistics import fmean
from typing import Final

from tests.bench.nodes import Node, node
from tests.bench.plugins import new_sandbox, until_unlinked
from tests.bench.timed_agent import PHASES_NAME

_ROUNDS: Final = 100
_WARM_UP: Final = 10
_US: Final = 1e6


def phases_us() -> dict[str, int]:
    """Microseconds of each phase of ADDs that come one at a time: means of the middle half by
    their whole time, so that the phases add up."""
    with node(_ROUNDS + _WARM_UP + 20, agent="tests.bench.timed_agent") as timed:
        calls = [_add(timed) for _ in range(_ROUNDS + _WARM_UP)]
        lines = (timed.folder / PHASES_NAME).read_text().splitlines()
    assert len(lines) == len(calls), "every ADD was timed, and nothing else"
    rounds = [
        _phases(began_s, ended_s, json.loads(line))
        for (began_s, ended_s), line in zip(calls, lines, strict=True)
    ][_WARM_UP:]
    rounds.sort(key=lambda each: each["whole"])
    middle = rounds[len(rounds) // 4 : len(rounds) * 3 // 4]
    return {phase: round(fmean(each[phase] for each in middle) * _US) for phase in middle[0]}


def _add(timed: Node) -> tuple[float, float]:
    sandbox = new_sandbox()
    try:
        began_s = time.perf_counter()
        timed.plugin.call("ADD", sandbox)
        ended_s = time.perf_counter()
        timed.plugin.call("DEL", sandbox)
        until_unlinked(sandbox)
    finally:
        sandbox.close()
    return began_s, ended_s


def _phases(began_s: float, ended_s: float, agents: dict[str, float]) -> dict[str, float]:
    return {
        "exec to accept": agents["accepted"] - began_s,
        "frame": agents["received"] - agents["accepted"],
        "parse": agents["parsed"] - agents["received"],
        "stock and book": agents["wiring"] - agents["parsed"],
        "netlink host": agents["wired"] - agents["wiring"] - agents["sandbox_s"],
        "netlink sandbox": agents["sandbox_s"],
        "book and answer": agents["sent"] - agents["wired"],
        "answer to exit": ended_s - agents["sent"],
        "whole": ended_s - began_s,
    }
