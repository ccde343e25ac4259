"""A playground in the background: a supervisor in a session of its own, and how it is ended.

While it starts, the supervisor tells each step as a line of JSON on its standard output, which
the command reads; then it lets go of the terminal.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Final, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from berth.playground.leftovers import end_left_children
from berth.playground.playground import ProgressStep, Report, StartOptions
from berth.playground.state import (
    LOCK_FILE,
    PlaygroundState,
    is_locked,
    lock_owner,
    read_state,
)
from berth.playground.topology import Topology
from berth.programs import base_environment, python_module
from shared.errors import Refused, Unavailable
from shared.kernel.processes import started_at

_DOWN_S: Final = 90.0  # every child may take its whole stop limit, group after group
_LOOK_S: Final = 0.05


class SupervisorOrder(BaseModel):
    """What the supervisor is told on its standard input."""

    run_dir: Path
    topology_text: str
    options: StartOptions


class Stepped(BaseModel):
    said: Literal["step"] = "step"
    step: ProgressStep


class Started(BaseModel):
    said: Literal["started"] = "started"


class Failed(BaseModel):
    said: Literal["failed"] = "failed"
    line: str


Word = Stepped | Started | Failed
WORD: Final[TypeAdapter[Word]] = TypeAdapter(Word)


def start_detached(
    *, run_dir: Path, topology: Topology, options: StartOptions, report: Report
) -> PlaygroundState:
    """Returns once everything serves. Raises in one line, and then nothing is left."""
    order = SupervisorOrder(run_dir=run_dir, topology_text=topology.text, options=options)
    supervisor = subprocess.Popen(
        python_module("berth.playground.supervisor"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=base_environment(),
        start_new_session=True,
    )
    assert supervisor.stdin is not None, "asked for"
    assert supervisor.stdout is not None, "asked for"
    try:
        with _ending_on_interrupt(supervisor):
            with supervisor.stdin:
                supervisor.stdin.write(order.model_dump_json().encode())
            with supervisor.stdout:
                _follow(supervisor.stdout, report)
    except BaseException:
        supervisor.terminate()  # a signal during the start undoes it
        supervisor.wait()
        raise
    # It lives on as a child of init once this command has ended.
    supervisor.returncode = 0
    return read_state(run_dir)


def stop_detached(run_dir: Path) -> None:
    """End the playground of this folder and wait until nothing is left of it."""
    if not is_locked(run_dir):
        if not (run_dir / LOCK_FILE).exists():
            raise Refused(f"nothing runs in {run_dir}")
        end_left_children(run_dir)
        shutil.rmtree(run_dir, ignore_errors=True)
        return
    pid = lock_owner(run_dir)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_S
    while is_locked(run_dir) or (pid is not None and started_at(pid) is not None):
        if time.monotonic() > deadline:
            raise Unavailable(f"the supervisor {pid} did not end within {_DOWN_S:.0f} s")
        time.sleep(_LOOK_S)


@contextmanager
def _ending_on_interrupt(supervisor: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ctrl-C ends the supervisor, whatever this process is just doing.

    An exception out of a signal's handler is lost where Python may not raise, so the handler
    raises nothing: the block sees its supervisor end, and the interrupt is raised after it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # somebody else in this process answers to Ctrl-C
        return
    was_interrupted = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal was_interrupted
        was_interrupted = True
        supervisor.terminate()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if was_interrupted:
            raise KeyboardInterrupt


def _follow(words: IO[bytes], report: Report) -> None:
    for line in words:
        try:
            word = WORD.validate_json(line)
        except ValidationError:
            continue
        if isinstance(word, Stepped):
            report(word.step)
        elif isinstance(word, Failed):
            raise Refused(word.line)
        else:
            return
    raise Unavailable("the supervisor ended while it started")
