"""``python -m tests.endurance.cycles CYCLES IN_FLIGHT``: what ADD and DEL leave behind.

Prints one JSON line: what the node had before and has afterwards, and how fast it went.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from shared.kernel.netns import isolate
from tests.bench.nodes import Node, node
from tests.bench.plugins import new_sandbox
from tests.endurance.holdings import Holdings, holdings, until

_WARM_UP: Final = 200  # what a first call allocates once stays for good
_SPARE: Final = 1000
_COOLING_S: Final = 1.0


def main() -> None:
    cycles, in_flight = int(sys.argv[1]), int(sys.argv[2])
    isolate()
    with node(_SPARE, cooling_s=_COOLING_S) as ours:
        _run(ours, min(_WARM_UP, cycles), in_flight)
        before = _at_rest(ours)
        began_s = time.monotonic()
        _run(ours, cycles, in_flight)
        took_s = time.monotonic() - began_s
        after = _at_rest(ours)
    told = {
        "cycles": cycles,
        "in_flight": in_flight,
        "per_s": round(cycles / took_s, 1),
        "before": before.told(),
        "after": after.told(),
    }
    sys.stdout.write(json.dumps(told) + "\n")


def _run(ours: Node, cycles: int, in_flight: int) -> None:
    with ThreadPoolExecutor(in_flight) as threads:
        for done in [threads.submit(_cycle, ours) for _ in range(cycles)]:
            done.result()


def _cycle(ours: Node) -> None:
    sandbox = new_sandbox()
    try:
        ours.plugin.call("ADD", sandbox)
        ours.plugin.call("DEL", sandbox)
    finally:
        sandbox.close()


def _at_rest(ours: Node) -> Holdings:
    """Links go behind the answer, addresses cool."""
    until(lambda: holdings(ours).cooling == 0, "nothing cools any more")
    until(lambda: holdings(ours).links == 3, "lo and two ENIs are all links")
    return holdings(ours)


if __name__ == "__main__":
    main()
