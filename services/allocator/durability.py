"""No lease changes while the change could not be kept: said at once, with the reason.

Steps are refused before anything is written: those that make books larger while there is still
room for what is under way, all of them once the store or the journal takes nothing more, or the
store could lose what it acknowledged. It is looked at again and again, and ends by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from enum import StrEnum
from typing import Final, Protocol

from shared.errors import Refused, StorageFull, TryLater, Unavailable
from shared.telemetry.metrics import ALLOCATOR_REFUSING

log = logging.getLogger(__name__)


class Cause(StrEnum):
    """Why steps are refused; a label of the alert metric."""

    STORE_SETTINGS = "store_settings"  # what is acknowledged could be lost
    STORE_FULL = "store_full"
    JOURNAL_FULL = "journal_full"
    JOURNAL_REFUSES = "journal_refuses"


_ONLY_GROWTH: Final = frozenset({Cause.STORE_FULL, Cause.JOURNAL_FULL})


class WriteGate:
    """Open unless there is a cause to refuse."""

    def __init__(self) -> None:
        self._closed: dict[Cause, TryLater] = {}
        for cause in Cause:
            ALLOCATOR_REFUSING.labels(cause).set(0)

    def check(self, *, grows: bool) -> None:
        """Raise the reason why a step may not be taken now."""
        for cause, error in self._closed.items():
            if grows or cause not in _ONLY_GROWTH:
                raise type(error)(str(error))

    def is_closed_by(self, cause: Cause) -> bool:
        return cause in self._closed

    def close(self, cause: Cause, error: TryLater) -> None:
        if cause not in self._closed:
            log.error("leases are not changed", extra={"cause": cause, "reason": str(error)})
        self._closed[cause] = error
        ALLOCATOR_REFUSING.labels(cause).set(1)

    def open(self, cause: Cause) -> None:
        if self._closed.pop(cause, None) is not None:
            log.warning("leases are changed again", extra={"cause": cause})
        ALLOCATOR_REFUSING.labels(cause).set(0)


class StoreHealth(Protocol):
    async def check_settings(self) -> None:
        """Raise Refused when the store could lose what it acknowledges."""
        ...

    async def check_room(self) -> None:
        """Raise StorageFull while there is room for little more than what is under way."""
        ...


class JournalHealth(Protocol):
    async def is_there(self) -> bool: ...

    async def check_room(self) -> None:
        """Raise StorageFull while there is room for little more than what is under way."""
        ...

    async def probe(self) -> None:
        """Raise what a write would raise."""
        ...


class EpochWatch(Protocol):
    def report_lost(self) -> None: ...


class DurabilityWatch:
    """Opens and closes the gate by what store and journal say of themselves."""

    def __init__(
        self, gate: WriteGate, store: StoreHealth, journal: JournalHealth, epochs: EpochWatch
    ) -> None:
        self._gate = gate
        self._store = store
        self._journal = journal
        self._epochs = epochs

    async def round(self) -> None:
        await self._settle(Cause.STORE_SETTINGS, self._store.check_settings())
        await self._settle(Cause.STORE_FULL, self._store.check_room())
        await self._look_at_journal()

    async def _look_at_journal(self) -> None:
        try:
            if not await self._journal.is_there():
                self._epochs.report_lost()  # it is made again, and filled from the store
                return
            await self._settle(Cause.JOURNAL_FULL, self._journal.check_room())
            if self._gate.is_closed_by(Cause.JOURNAL_REFUSES):
                await self._journal.probe()
                self._gate.open(Cause.JOURNAL_REFUSES)
        except TryLater as error:
            self._gate.close(Cause.JOURNAL_REFUSES, error)

    async def _settle(self, cause: Cause, look: Awaitable[None]) -> None:
        try:
            await look
        except Refused as error:
            self._gate.close(cause, Unavailable(str(error)))
        except StorageFull as error:
            self._gate.close(cause, error)
        except TryLater as error:  # nothing was seen: it stays as it is
            log.info("could not look", extra={"cause": cause, "error": str(error)})
        else:
            self._gate.open(cause)
