"""The epoch: which store the leases live in, and what happens when it is no longer that one.

An epoch is claimed by compare-and-set on the journal's record, and only then changed in the
store; each step of the store carries the claim; the last one opens. Whoever loses the claim
waits for the winner, and claims the next number if the winner does not come to an end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from shared.clock import Clock
from shared.errors import BerthError, EpochLost
from shared.ids import Generation, Identity
from shared.messages.recovery import Book
from shared.runtime.loops import cancel
from shared.telemetry.health import Readiness

from .domain.leases import Lease
from .domain.ports import EpochStore, Journal, JournalEpoch, LeaseStore

log = logging.getLogger(__name__)

EPOCH_CONDITION: Final = "epoch"
_POLL_S: Final = 0.1
_RESTORE_BATCH: Final = 1000
_UNJOURNALED_BATCH: Final = 4096  # all that replicas may have in flight, in most clusters
_RENEWALS: Final = 4  # of a claim, in the time after which it would count as left behind


class EpochKeeper:
    """Opens, adopts and recovers epochs for one replica."""

    def __init__(
        self,
        leases: LeaseStore,
        store: EpochStore,
        journal: Journal,
        *,
        clock: Clock,
        readiness: Readiness,
        claim_timeout_s: float,
        check_store: Callable[[], Awaitable[None]],
    ) -> None:
        self._leases = leases
        self._store = store
        self._journal = journal
        self._clock = clock
        self._readiness = readiness
        self._claim_timeout_s = claim_timeout_s
        self._check_store = check_store
        self._lost = asyncio.Event()
        self._lost.set()
        self._wanted: Book | None = None  # what a person wants the other book built from
        self._seen: dict[Identity, Generation] = {}  # not journaled, at the last round
        self._claim: JournalEpoch | None = None  # the last that this replica put

    def report_lost(self) -> None:
        """A step was answered "epoch lost": look, and recover if it is so."""
        self._lost.set()

    def rebuild(self, source: Book) -> None:
        """Open another epoch, and build the other book anew from this one."""
        self._wanted = source
        self._lost.set()

    async def keep(self) -> None:
        """For ever: have an epoch open, and look again whenever one was lost."""
        while True:
            await self._lost.wait()
            self._lost.clear()
            try:
                await self.open()
            except BerthError as error:
                self._readiness.clear(EPOCH_CONDITION, str(error))
                self._lost.set()
                raise

    async def open(self) -> None:
        """Adopt the open epoch, or claim and open the next. Returns when one is in use."""
        seen: JournalEpoch | None = None
        seen_s = self._clock.monotonic_s()
        await self._journal.ensure_stream()
        await self._check_store()  # it may be another server than at start
        while True:
            record = await self._journal.epoch()
            store = await self._store.epoch()
            if record is not None and record.is_open and record.number == store.number:
                if store.is_same_server and self._wanted is None:
                    self._use(record)
                    return
            elif record is not None and not record.is_open and not self._has_put(record):
                if record != seen:
                    seen, seen_s = record, self._clock.monotonic_s()
                if self._clock.monotonic_s() - seen_s < self._claim_timeout_s:
                    await asyncio.sleep(
                        _POLL_S
                    )  # its claimer is at work: nothing tells its end
                    continue
            opened = await self._recover(record)
            if opened is not None:
                self._wanted = None
                self._use(opened)
                return

    def _has_put(self, record: JournalEpoch) -> bool:
        """A claim of its own that it finds has failed: nobody else is at work to wait for."""
        claim = self._claim
        return claim is not None and (claim.number, claim.revision) == (
            record.number,
            record.revision,
        )

    async def _recover(self, record: JournalEpoch | None) -> JournalEpoch | None:
        """Claim the next number and open it; None when somebody else was first."""
        self._stop_using("recovery runs")
        store = await self._store.epoch()
        number = max(record.number if record is not None else 0, store.number) + 1
        # The claim says it, so that whoever follows a dead claimer begins the rewrite again.
        is_rewrite = record is None or record.is_rewrite or self._wanted is Book.STORE
        claim = await self._journal.put_epoch(
            number, is_open=False, at=self._clock.now(), after=record, is_rewrite=is_rewrite
        )
        self._claim = claim
        if claim is None:
            return None
        # The claim has shut out older writers, so what is counted now stays so. The store is
        # whole when it knows every generation that was ever journaled; it is looked at under
        # the claim, which goes with whatever it loses from now on.
        highest = await self._journal.highest()
        if not await self._store.claim(number, empty=False):
            return None
        store = await self._store.epoch()
        is_whole = self._wanted is Book.STORE or (
            store.highest >= highest and self._wanted is not Book.JOURNAL
        )
        log.warning(
            "opening an epoch",
            extra={"epoch": number, "from": "the store" if is_whole else "the journal"},
        )
        if not is_whole:
            if not await self._store.claim(number, empty=True):
                return None
            restored = await self._restore(claim)
            if restored is None:
                return None
            claim = restored
        if not await self._store.open(number):
            return None
        self._journal.use_epoch(claim)
        if is_whole:
            await self._journal_all(is_rewrite=is_rewrite)
        return await self._journal.put_epoch(
            number, is_open=True, at=self._clock.now(), after=claim, highest=highest
        )

    async def _restore(self, claim: JournalEpoch) -> JournalEpoch | None:
        """Put every lease back; the claim as renewed meanwhile, None when it was taken over."""
        count = 0
        renewed_s = self._clock.monotonic_s()
        async with aclosing(_ahead(self._batches())) as batches:
            async for batch in batches:
                if not await self._store.restore(claim.number, batch):
                    return None
                count += len(batch)
                if self._clock.monotonic_s() - renewed_s > self._claim_timeout_s / _RENEWALS:
                    # A large rebuild is not a claimer that stands still.
                    renewed = await self._journal.put_epoch(
                        claim.number, is_open=False, at=self._clock.now(), after=claim
                    )
                    if renewed is None:
                        return None
                    self._claim = claim = renewed
                    renewed_s = self._clock.monotonic_s()
                    log.info("restoring leases", extra={"count": count})
        log.info("restored leases", extra={"count": count})
        return claim

    async def _batches(self) -> AsyncIterator[list[Lease]]:
        batch: list[Lease] = []
        async for lease in self._journal.leases():
            batch.append(lease)
            if len(batch) == _RESTORE_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    async def _journal_all(self, *, is_rewrite: bool) -> None:
        """Journal what is not, or everything when the journal itself was lost."""
        if is_rewrite:
            cursor = 0
            while True:
                cursor, page = await self._leases.leases(cursor, _RESTORE_BATCH)
                await self._journal.settle(page)
                if cursor == 0:
                    break
        if self._wanted is Book.STORE:
            await self._bury_unknown()
        while found := await self._leases.unjournaled(_UNJOURNALED_BATCH):
            await self._journal.settle(found)
            await self._leases.journaled(found)

    async def _bury_unknown(self) -> None:
        """What only the journal has is no lease: no later rebuild brings it back."""
        async for batch in self._batches():
            stored = await self._leases.found_of([lease.identity for lease in batch])
            for journaled, lease in zip(batch, stored, strict=True):
                if lease is None:
                    await self._journal.bury(journaled)

    def _use(self, epoch: JournalEpoch) -> None:
        self._store.use_epoch(epoch.number)
        self._journal.use_epoch(epoch)
        self._readiness.set(EPOCH_CONDITION)
        log.info("epoch in use", extra={"epoch": epoch.number})

    def _stop_using(self, reason: str) -> None:
        self._store.use_epoch(None)
        self._journal.use_epoch(None)
        self._readiness.clear(EPOCH_CONDITION, reason)

    async def finish_rounds(self) -> None:
        """One round of the loop that journals what others left behind.

        Left behind is what was there a round ago: whoever took a step is about to journal it,
        and two replicas that write the same steps refuse each other's batches.
        """
        found = await self._leases.unjournaled(_UNJOURNALED_BATCH)
        seen_before, self._seen = self._seen, {each.identity: each.generation for each in found}
        left_behind = [
            each for each in found if seen_before.get(each.identity) == each.generation
        ]
        try:
            if left_behind:
                await self._journal.write(left_behind)
                await self._leases.journaled(left_behind)
            await self._journal.fold_left_behind()
        except EpochLost:
            self.report_lost()
            raise


async def _ahead(batches: AsyncIterator[list[Lease]]) -> AsyncGenerator[list[Lease], None]:
    """The same, each read while the one before it is worked on."""
    following = asyncio.ensure_future(anext(batches, None))
    try:
        while (batch := await following) is not None:
            following = asyncio.ensure_future(anext(batches, None))
            yield batch
    finally:
        await cancel([following])
