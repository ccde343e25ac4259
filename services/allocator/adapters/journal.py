"""Implements Journal on JetStream: the last value of every fixed lease, and its pages.

A step is journaled by a page: one message for all the steps that wait, stored only if the
epoch record is still the revision that this writer opened with, so an allocator of an older
epoch is refused as a whole. So is a step of an older epoch, whose answer came after its writer
had gone on to the next one. Pages are folded later: an atomic batch brings each step to its
lease's own subject by compare-and-set, empties the pages, and is fenced by the epoch too.
Where a compare-and-set fails, what is there is read and the rest is written again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from itertools import chain, count
from typing import Any, Final, NamedTuple

import nats.errors
from nats.aio.client import Client

from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import JournalEpoch
from shared.errors import BerthError, Busy, EpochLost, TryLater, Unavailable
from shared.ids import ClusterName, Generation, epoch_of
from shared.messages.subjects import (
    journal_commit_subject,
    journal_epoch_subject,
)
from shared.store.lease_records import RECORD_VERSION, StoredFormat
from shared.telemetry.metrics import ALLOCATOR_JOURNAL_SECONDS

from .journal_books import TIMEOUT_S, WRONG_LAST_SEQUENCE, JournalBooks
from .journal_entries import NOTHING, Entry, Known, commit_body, rank_of
from .journal_pages import EMPTIED_TTL, STEPS_MAX, OpenPages, entries_of, newest_of, page_body
from .journal_stream import problem_of
from .lease_codec import decode_lease

log = logging.getLogger(__name__)

_BATCH_MAX: Final = 900  # messages; the bus takes no more than 1,000
_WAITING_MAX: Final = 4096
_ATTEMPTS: Final = 16
_ANY: Final = 0  # epochs start at 1
_KNOWN_MAX: Final = 200_000  # identities whose last sequence is remembered, by token


class _Waiting(NamedTuple):
    """A step that is to be written, in the epoch that it was taken in, or in any."""

    entry: Entry
    epoch: int
    done: asyncio.Future[None]


class JetStreamJournal(JournalBooks):
    """The journal of one cluster."""

    def __init__(
        self,
        nats: Client,
        cluster: ClusterName,
        *,
        writer: str,
        replicas: int = 1,
        stored_format: StoredFormat = RECORD_VERSION,
    ) -> None:
        super().__init__(nats, cluster, replicas=replicas)
        self._nats = nats
        self._format = stored_format
        self._commit_subject = journal_commit_subject(cluster, writer)
        self._highest = Generation(0)  # of what this writer has ever sent
        self._epoch: JournalEpoch | None = None
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._waiting: deque[_Waiting] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._batches = 0
        self._writer = writer
        self._pages = OpenPages(cluster, writer)
        self._folding = asyncio.Lock()
        self._seen: set[int] = set()  # sequences of everybody's pages, a round ago

    def use_epoch(self, epoch: JournalEpoch | None) -> None:
        self._epoch = epoch
        if epoch is not None:
            self._written = epoch.revision
        self._known.clear()

    async def write(self, leases: Sequence[Lease]) -> None:
        entries = [Entry.of(lease, self._format) for lease in leases]
        await self._enter(entries, [epoch_of(lease.generation) for lease in leases])

    async def settle(self, leases: Sequence[Lease]) -> None:
        entries = [Entry.of(lease, self._format) for lease in leases]
        await self._enter(entries, [_ANY] * len(entries))

    async def bury(self, lease: Lease) -> None:
        await self._enter([Entry.tombstone_of(lease)], [_ANY])

    async def _enter(self, entries: Sequence[Entry], epochs: Sequence[int]) -> None:
        loop = asyncio.get_running_loop()
        if len(self._waiting) + len(entries) > _WAITING_MAX:
            raise Busy(f"{_WAITING_MAX} steps wait for the journal")
        waiting = [
            _Waiting(entry, epoch, loop.create_future())
            for entry, epoch in zip(entries, epochs, strict=True)
        ]
        self._waiting += waiting
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="journal")
        with ALLOCATOR_JOURNAL_SECONDS.time():
            for each in waiting:
                await each.done

    async def _flush(self) -> None:
        while self._waiting:
            count = min(STEPS_MAX, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            problem: TryLater | None = None
            try:
                epoch = self._opened()
                batch = _refuse_others(batch, epoch)
                await self._store([each.entry for each in batch], epoch)
            except TryLater as error:
                problem = error
            _settle(batch, problem)

    async def _store(self, entries: Sequence[Entry], epoch: JournalEpoch) -> None:
        if not entries:
            return
        if self._format == 1:  # that release knows of no pages
            await self._fold(entries, [], epoch)
            return
        if self._pages.is_full:
            await self.fold()
        for _ in range(_ATTEMPTS):
            if await self._put_page(entries, epoch) or await self._is_there(entries):
                return
            await self._check(epoch)
        raise Unavailable(f"the journal refused a page {_ATTEMPTS} times")

    async def _put_page(self, entries: Sequence[Entry], epoch: JournalEpoch) -> bool:
        """False: the epoch was refused, nothing was stored."""
        self._count(entries)
        page = self._pages.begin(entries)
        answer = await self._ask_to_store(page, page_body(entries), self._fenced_by(epoch))
        if refusal := answer.get("error"):
            self._pages.drop([page])
            if refusal.get("err_code") == WRONG_LAST_SEQUENCE:
                return False
            raise problem_of("the journal", refusal)
        return True

    async def _is_there(self, entries: Sequence[Entry]) -> bool:
        """Whether all were journaled before, or newer ones: a repeat is done in any epoch."""
        pages = newest_of([each async for each in self._paged()])
        known = await self._learn(entries)
        return all(
            known[each.token].rank >= each.rank
            or (each.token in pages and pages[each.token].rank >= each.rank)
            for each in entries
        )

    async def fold(self) -> None:
        """Bring what this writer's pages hold to the leases' own subjects."""
        async with self._folding:
            while self._epoch is not None and (pages := self._pages.oldest(_BATCH_MAX)):
                steps = chain.from_iterable(pages.values())
                await self._fold(steps, list(pages), self._opened())
                self._pages.drop(pages)

    async def aclose(self) -> None:
        """Fold once more; what stays is folded by another replica."""
        try:
            await self.fold()
        except BerthError as error:
            log.info("pages are left to others", extra={"error": str(error)})

    async def fold_left_behind(self) -> None:
        """Fold what a writer that is no more has left: pages that were there a round ago."""
        found = {each.subject: each async for each in self._all_of(self._all_pages)}
        seen, self._seen = self._seen, {each.sequence for each in found.values() if each.data}
        for page in found.values():
            if page.sequence in seen and page.data:
                await self._fold(entries_of(page.data), [page.subject], self._opened())

    async def rewrite_newer(self) -> AsyncGenerator[int, None]:
        """How many of each batch are now of version 1; none of one that a step came between."""
        async for batch in self._newer():
            entries, found = [], {}
            for stored in batch:
                lease = decode_lease(stored.subject.removeprefix(self._prefix), stored.data)
                entries.append(entry := Entry.of(lease, self._format))
                found[entry.token] = Known(stored.sequence, entry.rank)
            epoch = self._opened()
            if await self._commit(entries, found, [], epoch):
                yield len(entries)
            else:
                await self._check(epoch)

    async def _fold(
        self, steps: Iterable[Entry], pages: list[str], epoch: JournalEpoch
    ) -> None:
        """Equal is done, newer is superseded; store the rest, or the epoch is lost."""
        entries = list(newest_of(steps).values())
        self._count(entries)
        for _ in range(_ATTEMPTS):
            known = await self._learn(entries)
            # A newer step is never overwritten, however its sequence came to be known.
            entries = [each for each in entries if known[each.token].rank < each.rank]
            if await self._commit(entries, known, pages, epoch):
                return
            await self._check(epoch)
        raise Unavailable(f"the journal refused a batch {_ATTEMPTS} times")

    async def _check(self, epoch: JournalEpoch) -> None:
        """Raise when it is the epoch that was refused, and not a look at it: a replicated
        stream refuses to check a subject that it is checking for another writer."""
        record = await self.epoch()
        if record is None or record.revision != epoch.revision:
            raise EpochLost("the journal's epoch is not the one this allocator opened")

    def _opened(self) -> JournalEpoch:
        if self._epoch is None:
            raise EpochLost("no epoch is open yet: recovery runs, try again")
        return self._epoch

    def _count(self, entries: Iterable[Entry]) -> None:
        # Told before it is sure to be stored: too high makes a rebuild, too low loses a lease.
        self._highest = max([self._highest, *(entry.rank[0] for entry in entries)])

    async def _commit(
        self,
        entries: Sequence[Entry],
        known: Mapping[str, Known],
        pages: Sequence[str],
        epoch: JournalEpoch,
    ) -> bool:
        """Whether all were stored. False: a compare-and-set failed, nothing was stored."""
        self._batches += 1
        batch = {"Nats-Batch-Id": f"{self._writer}-{epoch.revision}-{self._batches}"}
        numbers = count(1)
        try:
            for entry in entries:
                last = str(known[entry.token].sequence)
                await self._nats.publish(
                    self._prefix + entry.token,
                    entry.body,
                    headers=batch
                    | {"Nats-Batch-Sequence": str(next(numbers))}
                    | {"Nats-Expected-Last-Subject-Sequence": last}
                    | entry.headers(),
                )
            for page in pages:
                emptied = {"Nats-Batch-Sequence": str(next(numbers)), "Nats-TTL": EMPTIED_TTL}
                await self._nats.publish(page, b"", headers=batch | emptied)
        except (nats.errors.Error, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error
        commit = {"Nats-Batch-Commit": "1", "Nats-Batch-Sequence": str(next(numbers))}
        try:
            answer = await self._ask_to_store(
                self._commit_subject,
                commit_body(self._highest),
                batch | commit | self._fenced_by(epoch),
            )
        except Unavailable:
            self._forget(entries)
            raise
        if refusal := answer.get("error"):
            self._forget(entries)
            if refusal.get("err_code") == WRONG_LAST_SEQUENCE:
                return False
            raise problem_of("the journal", refusal)
        first = int(answer["seq"]) - len(entries) - len(pages)
        for number, entry in enumerate(entries):
            self._remember(entry.token, Known(first + number, entry.rank))
        return True

    def _fenced_by(self, epoch: JournalEpoch) -> dict[str, str]:
        return {
            "Nats-Expected-Last-Subject-Sequence": str(epoch.revision),
            "Nats-Expected-Last-Subject-Sequence-Subject": journal_epoch_subject(self._cluster),
        }

    async def _ask_to_store(
        self, subject: str, body: bytes, headers: dict[str, str]
    ) -> dict[str, Any]:
        try:
            answer = await self._nats.request(subject, body, timeout=TIMEOUT_S, headers=headers)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(
                f"the journal did not answer: {str(error) or type(error).__name__}"
            ) from error
        found: dict[str, Any] = json.loads(answer.data)
        return found

    async def _learn(self, entries: Iterable[Entry]) -> dict[str, Known]:
        """What the journal holds of each, in one question for those that are not known.

        As it was at one moment, by token: others write, learn and forget meanwhile, and a rank
        of now beside a sequence of later would overwrite a newer step.
        """
        tokens = {entry.token for entry in entries}
        known = {each: self._known[each] for each in tokens if each in self._known}
        subjects = {self._prefix + each: each for each in tokens - known.keys()}
        if not subjects:
            return known
        stored = await self._reads.last_of(list(subjects))
        for subject, token in subjects.items():
            found = stored.get(subject)
            last = NOTHING
            if found is not None:
                last = Known(found.sequence, rank_of(found.data))
            known[token] = last
            self._remember(token, last)
        return known

    def _remember(self, token: str, last: Known) -> None:
        self._known[token] = last
        self._known.move_to_end(token)
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def _forget(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._known.pop(entry.token, None)


def _refuse_others(waiting: Sequence[_Waiting], epoch: JournalEpoch) -> list[_Waiting]:
    """Those that may be written in this epoch; the others hear why not."""
    others = [each for each in waiting if each.epoch not in (_ANY, epoch.number)]
    if others:
        text = f"the step is of epoch {others[0].epoch}, and epoch {epoch.number} is open"
        _settle(others, EpochLost(text))
    return [each for each in waiting if each.epoch in (_ANY, epoch.number)]


def _settle(waiting: Iterable[_Waiting], problem: Exception | None) -> None:
    for each in waiting:
        if each.done.done():  # the caller's deadline passed
            continue
        if problem is None:
            each.done.set_result(None)
        else:
            each.done.set_exception(problem)
