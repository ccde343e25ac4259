"""What follows every step in the store: it is journaled, its mark goes, listeners hear it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

from shared.errors import BerthError, EpochLost, StorageFull, Unavailable
from shared.messages.base import IdentityFields
from shared.messages.events import Event, LeaseEvent
from shared.runtime.loops import spawn

from .domain.leases import Lease
from .domain.ports import Journal, LeaseStore
from .durability import Cause, WriteGate

log = logging.getLogger(__name__)

Done = TypeVar("Done")


class EventTeller(Protocol):
    def tell(self, event: Event, *, message_id: str) -> None: ...


class EpochWatch(Protocol):
    def report_lost(self) -> None: ...


class DurableSteps:
    """Shared by everything that takes steps: requests, and the reaper."""

    def __init__(
        self,
        leases: LeaseStore,
        journal: Journal,
        events: EventTeller,
        epochs: EpochWatch,
        gate: WriteGate,
    ) -> None:
        self._leases = leases
        self._journal = journal
        self._events = events
        self._epochs = epochs
        self._gate = gate
        self._marked: list[Lease] = []  # journaled, their marks not yet taken off
        self._behind: set[asyncio.Task[None]] = set()  # the one that takes them off

    async def watched(self, work: Awaitable[Done]) -> Done:
        """Await a step; an epoch that turns out to be lost is reported."""
        try:
            return await work
        except EpochLost:
            self._epochs.report_lost()
            raise

    async def make_durable(self, lease: Lease) -> None:
        """Journaled when it returns: only then may the step be answered or acted upon."""
        await self.make_all_durable([lease])

    async def make_all_durable(self, leases: Sequence[Lease]) -> None:
        try:
            await self.watched(self._journal.write(leases))
        except (StorageFull, Unavailable) as error:  # of the next steps, none is begun
            self._gate.close(Cause.JOURNAL_REFUSES, error)
            raise
        # The mark may go after the answer: another replica that sees it finds it journaled.
        self._marked += leases
        if not self._behind:
            spawn(self._behind, self._unmark(), name="unmark")

    def tell(self, verb: str, lease: Lease, *, reason: str | None = None) -> None:
        self._events.tell(
            LeaseEvent(
                verb=verb,
                identity=IdentityFields.of(lease.identity),
                address=lease.address,
                node=lease.node,
                eni=lease.eni,
                generation=lease.generation,
                at=lease.since,
                reason=reason,
                state=lease.state,
            ),
            message_id=f"{lease.identity.token}/{lease.generation}/{verb}",
        )

    async def drain(self) -> None:
        """Wait for the marks that are still to be taken off; each is bounded by the store."""
        await asyncio.gather(*self._behind, return_exceptions=True)

    async def _unmark(self) -> None:
        while self._marked:
            steps, self._marked = self._marked, []
            try:
                await self._leases.journaled(steps)
            except BerthError as error:
                log.info("journaled steps keep their marks", extra={"error": str(error)})
