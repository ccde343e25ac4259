"""An event loop whose time is its own: nothing is waited for, and order follows from the seed.

When nothing is ready, time jumps to the next timer. Threads run at once, in place. Tasks and
futures hash by the number they were made under, so that a set of them has one order only.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_CANCELLED_AGAIN: Final = 8  # a task may catch a cancellation, and wait once more


class EverythingWaits(Exception):
    """Nothing is ready and no timer is set: the simulated world would stand still for ever."""


class _NoFiles(selectors.SelectSelector):
    """Waits for nothing: it moves the loop's time on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise EverythingWaits
        self.now_s += max(0.0, timeout)
        return []


class Process:
    """What a kill ends: the tasks of one service, which do nothing more once it is dead."""

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.is_alive = True
        self._loop = loop
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        context = copy_context()
        context.run(_PROCESS.set, self)
        return self._loop.create_task(work, context=context)

    def own(self, task: asyncio.Task[Any]) -> None:
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def check(self) -> None:
        """Nothing reaches the world from a process that was killed."""
        if not self.is_alive:
            raise asyncio.CancelledError

    async def kill(self) -> None:
        self.is_alive = False
        for _ in range(_CANCELLED_AGAIN):
            for task in list(self._tasks):
                task.cancel()
            await asyncio.sleep(0)


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class _Numbered:
    """A hash that is the same in every run."""

    _numbers = itertools.count()
    _number: int | None = None

    def __hash__(self) -> int:
        if self._number is None:
            self._number = next(_Numbered._numbers)
        return self._number


class _Task(_Numbered, asyncio.Task):  # type: ignore[type-arg] # of anything
    pass


class _Future(_Numbered, asyncio.Future):  # type: ignore[type-arg] # of anything
    pass


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs one simulated world."""

    def __init__(self) -> None:
        self._files = _NoFiles()
        super().__init__(self._files)
        self.set_task_factory(_task_of)
        self.bugs: list[Mapping[str, Any]] = []
        self.set_exception_handler(lambda loop, context: self.bugs.append(context))

    def time(self) -> float:
        return self._files.now_s

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def run_in_executor(  # type: ignore[override] # no thread: done when it returns
        self, executor: Executor | None, func: Callable[..., _T], *arguments: Any
    ) -> asyncio.Future[_T]:
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done


def _task_of(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
    context: Context | None = None,
) -> asyncio.Task[_T]:
    task: asyncio.Task[_T] = _Task(work, loop=loop, context=context)
    process = (context or copy_context()).get(_PROCESS)
    if process is not None:
        process.own(task)
    return task


class VirtualClock:
    """The Clock of one machine in that world; `skew_s` may be changed at any time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.skew_s = 0.0

    def now(self) -> datetime:
        return _BEGINNING + timedelta(seconds=self._loop.time() + self.skew_s)

    def monotonic_s(self) -> float:
        return self._loop.time()
