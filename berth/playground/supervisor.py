"""``python -m berth.playground.supervisor``: the process behind ``berth up``.

It reads its order from standard input, tells its progress on standard output until everything
serves, and then lets go of both. SIGTERM ends it and everything it started.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from berth.playground.detached import Failed, Started, Stepped, SupervisorOrder, Word
from berth.playground.hold import hold
from berth.playground.playground import ProgressStep
from berth.playground.state import PlaygroundState
from berth.playground.topology import parse
from shared.errors import BerthError
from shared.telemetry.logs import configure_logging


def main() -> None:
    logging.getLogger().addHandler(logging.NullHandler())  # until there is a file to log to
    order = SupervisorOrder.model_validate_json(sys.stdin.buffer.read())
    try:
        asyncio.run(
            hold(
                run_dir=order.run_dir,
                topology=parse(order.topology_text, source="topology"),
                options=order.options,
                report=_tell_step,
                on_started=_let_go,
            )
        )
    except BerthError as error:
        _tell(Failed(line=str(error)))
        sys.exit(1)


def _tell_step(step: ProgressStep) -> None:
    _tell(Stepped(step=step))


def _tell(word: Word) -> None:
    sys.stdout.write(f"{word.model_dump_json()}\n")
    sys.stdout.flush()


def _let_go(state: PlaygroundState) -> None:
    _tell(Started())
    nothing = os.open(os.devnull, os.O_RDWR)
    log_file = os.open(
        state.run_dir / "logs" / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
    )
    for source, target in ((nothing, 0), (nothing, 1), (log_file, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log_file)
    configure_logging(service="berth-supervisor", level="INFO", style="json")


if __name__ == "__main__":
    main()
