"""The kernel's refusals end here: the runtime may try again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import Unavailable


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Raises Unavailable, saying what the kernel was asked for and why not."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{what}: {error}") from error
