"""The agent's memory on a full node, with everything on that production has."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Final

from shared.kernel.netns import isolate
from tests.bench.figures import Family, Figure, Measured
from tests.bench.nodes import node
from tests.bench.plugins import sandboxes
from tests.bench.processes import rss_mib

HELD: Final = 2000
_SPARE: Final = 100
_LOOKS: Final = 5
_LOOK_S: Final = 3.0  # as often as the agent compares all of its kernel

AGENT_RSS = Figure(
    name="agent_rss",
    unit="MiB",
    what="resident memory of the agent process with 2,000 pods, the device plugin on and pods"
    " watched",
    aim=90,
    is_ratio=False,
)


def measure() -> list[Measured]:
    """The most that is seen while the agent goes on comparing and reporting."""
    with ExitStack() as stack:
        isolate()
        held = stack.enter_context(sandboxes(HELD))
        names = [f"p-{sandbox.container_id}" for sandbox in held]
        ours = stack.enter_context(node(HELD + _SPARE, pods=names))
        began_mib = rss_mib(ours.agent_pid)
        for sandbox in held:
            ours.plugin.call("ADD", sandbox)
        seen = []
        for _ in range(_LOOKS):
            time.sleep(_LOOK_S)
            seen.append(rss_mib(ours.agent_pid))
    detail = {"held": HELD, "mib_before": round(began_mib, 1), "looks": _LOOKS}
    return [Measured(figure=AGENT_RSS, value=max(seen), baseline=None, detail=detail)]


FAMILIES: Final[tuple[Family, ...]] = (Family(figures=(AGENT_RSS,), measure=measure),)
