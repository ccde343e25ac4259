"""What a killed supervisor left running: ended before the next begins, or by `berth down`."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from berth.playground.state import ChildState, read_left_state
from shared.kernel.processes import started_at

_TERM_S: Final = 5.0
_KILL_S: Final = 2.0
_LOOK_S: Final = 0.05


def end_left_children(run_dir: Path) -> None:
    """End the children of a supervisor that is gone; most die with it by themselves."""
    left = read_left_state(run_dir)
    children = left.children if left is not None else ()
    for signum, patience_s in ((signal.SIGTERM, _TERM_S), (signal.SIGKILL, _KILL_S)):
        for child in filter(_lives, children):
            with suppress(ProcessLookupError):
                os.kill(child.pid, signum)
        deadline = time.monotonic() + patience_s
        while any(map(_lives, children)) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)


def _lives(child: ChildState) -> bool:
    # The same id with another start is somebody else's process.
    return started_at(child.pid) == child.started
