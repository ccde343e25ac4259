"""Background work that must not end: named, watched, started again after a bug.

One of the two places where ``except Exception`` is right (the other is the request server):
a bug in one round is logged with its traceback, and the loop goes on after a wait.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any

from shared.errors import BerthError

from .backoff import backoff_s

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0  # of a loop whose rounds fail
_CANCEL_AGAIN_S = 0.1


class Loops:
    """A set of supervised tasks. Leaving the block cancels them and waits for their end."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Loops:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run for ever: when `run` fails it is logged and started again after a wait. Whoever
        needs it no longer may cancel what is returned."""
        task = asyncio.create_task(self._supervise(name, run), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def every(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        interval_s: float,
        wake: asyncio.Event | None = None,
    ) -> asyncio.Task[None]:
        """Run now, then every `interval_s`, and at once when `wake` is set."""

        async def rounds() -> None:
            while True:
                if wake is not None:
                    wake.clear()  # before the round: a wake during it asks for another
                await run()
                await _wait(wake, interval_s)

        return self.keep(name, rounds)

    async def stop(self) -> None:
        await cancel(self._tasks)

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        waits = backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=LONGEST_WAIT_S)
        while True:
            try:
                await run()
            except BerthError as error:
                log.warning("loop round failed", extra={"loop": name, "error": str(error)})
            except Exception:
                log.exception("loop round hit a bug", extra={"loop": name})
            else:
                log.error("loop ended by itself", extra={"loop": name})
            await asyncio.sleep(next(waits))


async def _wait(wake: asyncio.Event | None, seconds: float) -> None:
    if wake is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel, and wait for the end of each.

    More than once: in Python 3.11 `wait_for` swallows a cancellation that arrives together
    with what it waited for.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)


def spawn(tasks: set[asyncio.Task[Any]], work: Awaitable[Any], *, name: str) -> None:
    """A task that its owner tracks until it ends, so that a drain can wait for it."""
    task = asyncio.ensure_future(work)
    if isinstance(task, asyncio.Task):
        task.set_name(name)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
