"""Implements EpochStore in memory: the recovery's side of the books, under a claim."""

from __future__ import annotations

from collections.abc import Sequence

from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import StoreEpoch
from shared.ids import GENERATION_BITS, Generation

from .memory_books import Books, MemoryBooks


class MemoryEpochs(MemoryBooks):
    """Which server the books are on, and how they are put back on another."""

    async def epoch(self) -> StoreEpoch:
        books = self._books
        return StoreEpoch(
            number=books.number,
            is_same_server=books.opened_on == self._server,
            highest=Generation((books.number << GENERATION_BITS) + books.counter),
        )

    async def claim(self, number: int, *, empty: bool) -> bool:
        if self._books.claim > number:
            return False
        if empty:
            reported = self._books.reported
            self._books = Books(counter=self._books.counter, reported=reported)
        self._books.claim, self._books.claimed_on = number, self._server
        return True

    async def restore(self, number: int, leases: Sequence[Lease]) -> bool:
        if not self._holds_claim(number):
            return False
        self._books.fixed |= {lease.identity: lease for lease in leases}
        return True

    async def open(self, number: int) -> bool:
        if not self._holds_claim(number):
            return False
        self._books.number, self._books.opened_on = number, self._server
        self._books.counter = 0
        return True

    def _holds_claim(self, number: int) -> bool:
        books = self._books
        return books.claim == number and books.claimed_on == self._server
