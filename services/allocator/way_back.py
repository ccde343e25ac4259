"""The way back to the release before: store and journal are written again in its format.

Nothing is to be remembered between rounds: a record tells its own version, so a round that was
interrupted is gone on with by any replica. What a record says stays, generation and all, so
steps go on beside it and a rebuild in between reads either version.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from shared.telemetry.metrics import ALLOCATOR_NEWER_RECORDS

log = logging.getLogger(__name__)


class Book(Protocol):
    """The store, or the journal."""

    async def count_newer(self) -> int: ...

    def rewrite_newer(self) -> AsyncIterator[int]:
        """Batch by batch, how many were written again."""
        ...


class WayBack:
    """One round counts what is left, and writes it again."""

    def __init__(self, books: Mapping[str, Book]) -> None:
        self._books = books
        self._left_before: dict[str, int] = {}

    async def round(self) -> None:
        left = {name: await self._look(name, book) for name, book in self._books.items()}
        if any(left.values()):
            log.info("newer records are left", extra=left)
        elif left != self._left_before:
            log.warning("all is in the format of the release before")
        self._left_before = left

    async def _look(self, name: str, book: Book) -> int:
        gauge = ALLOCATOR_NEWER_RECORDS.labels(name)
        left = await book.count_newer()
        gauge.set(left)
        if left:
            async for written in book.rewrite_newer():
                gauge.dec(written)
        return left
