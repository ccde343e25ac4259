"""On whose behalf a cloud call is made: how urgent it is, and under which right (pure).

Both travel in the context of the task that makes the call, so that the port to the cloud stays
free of them: whoever paces and signs calls reads them there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from typing import Final


class Urgency(IntEnum):
    """Who goes first when calls have to wait for their turn."""

    POD = 0  # a pod waits for it
    JOIN = 1  # a node that has nothing yet
    WARMTH = 2  # addresses ahead of need, and looking after what there is
    CLEAN_UP = 3  # giving back what nobody needs


_URGENCY: Final = ContextVar("urgency", default=Urgency.WARMTH)
_RIGHT: Final[ContextVar[Callable[[], None] | None]] = ContextVar("right", default=None)


@contextmanager
def urgent(urgency: Urgency) -> Iterator[None]:
    """Calls inside wait their turn with this urgency."""
    token = _URGENCY.set(urgency)
    try:
        yield
    finally:
        _URGENCY.reset(token)


@contextmanager
def under_right(check: Callable[[], None]) -> Iterator[None]:
    """Calls inside are made only while `check` does not raise."""
    token = _RIGHT.set(check)
    try:
        yield
    finally:
        _RIGHT.reset(token)


def urgency_now() -> Urgency:
    return _URGENCY.get()


def check_right() -> None:
    """Asked after a call was signed: a right that holds then was held at the signature's time,
    so what its owner left in flight ends with the validity of that signature."""
    check = _RIGHT.get()
    if check is not None:
        check()
