"""``python -m tests.endurance.kills KILLS SEED [lost]``: kill -9 of the agent under load.

With ``lost`` its book of who uses what goes with it each time. Workers do as a runtime does: a
failed ADD is followed by a DEL, a DEL is repeated until it succeeds. Each keeps its last pod.
Prints one JSON line: where kernel, book and reports differ afterwards, and what happened.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from shared.kernel.netns import isolate
from tests.bench.nodes import Node, node
from tests.bench.plugins import Sandbox, new_sandbox
from tests.endurance.holdings import disagreements, holdings, until

WORKERS: Final = 4
_SPARE: Final = 400
_COOLING_S: Final = 1.0
_LIFE_S_MAX: Final = 0.3  # of an agent, from the moment it serves


class Worker:
    """One pod after another, until told to stop with one that runs."""

    def __init__(self, ours: Node, stop: threading.Event) -> None:
        self._ours = ours
        self._stop = stop
        self.counts: Counter[str] = Counter()

    def run(self) -> Sandbox:
        while True:
            sandbox = new_sandbox()
            if self._call("ADD", sandbox):
                if self._stop.is_set():
                    return sandbox
                self._end(sandbox)
            else:
                self._end(sandbox)

    def _end(self, sandbox: Sandbox) -> None:
        while not self._call("DEL", sandbox):
            pass
        sandbox.close()

    def _call(self, verb: str, sandbox: Sandbox) -> bool:
        try:
            self._ours.plugin.call(verb, sandbox)
        except RuntimeError:
            self.counts[f"{verb} failed"] += 1
            return False
        self.counts[f"{verb} done"] += 1
        return True


def main() -> None:
    kills, rng = int(sys.argv[1]), random.Random(int(sys.argv[2]))
    is_lost = sys.argv[3:] == ["lost"]
    isolate()
    stop = threading.Event()
    with node(_SPARE, cooling_s=_COOLING_S) as ours:
        workers = [Worker(ours, stop) for _ in range(WORKERS)]
        with ThreadPoolExecutor(WORKERS) as threads:
            running = [threads.submit(worker.run) for worker in workers]
            for _ in range(kills):
                time.sleep(rng.uniform(0, _LIFE_S_MAX))
                ours.kill_agent()
                if is_lost:  # long before the next one has started
                    shutil.rmtree(ours.folder / "book")
                ours.await_agent()
            stop.set()
            kept = [each.result() for each in running]
        until(lambda: holdings(ours).cooling == 0, "nothing cools any more")
        until(lambda: not disagreements(ours), f"all are one; now: {disagreements(ours)}")
        after = holdings(ours)
        for sandbox in kept:
            sandbox.close()
    told = {"kills": kills, "kept": len(kept), "after": after.told()}
    told["calls"] = dict(sum((worker.counts for worker in workers), Counter()))
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
