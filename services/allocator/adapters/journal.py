"""Implements Journal on JetStream: the last value of every fixed lease, compare-and-set.

A write is an atomic batch: each lease with a compare-and-set on its own subject, and a last
message that is stored only if the epoch record is still the revision this writer opened with.
So an allocator of an older epoch is refused as a whole. Writes of concurrent requests share a
batch; where a compare-and-set fails, what is there is read and the rest is written again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import JournalEpoch
from shared.errors import Busy, EpochLost, TryLater, Unavailable
from shared.ids import ClusterName, Generation, Identity
from shared.messages.subjects import (
    journal_commit_subject,
    journal_epoch_subject,
    journal_lease_subject,
)
from shared.telemetry.metrics import ALLOCATOR_JOURNAL_SECONDS

from .journal_books import TIMEOUT_S, WRONG_LAST_SEQUENCE, JournalBooks
from .journal_entries import NOTHING, Entry, Known, commit_body, rank_of
from .journal_stream import batch_headers, problem_of

log = logging.getLogger(__name__)

_BATCH_MAX: Final = 64
_WAITING_MAX: Final = 4096
_KNOWN_MAX: Final = 200_000  # identities whose last sequence is remembered


class JetStreamJournal(JournalBooks):
    """The journal of one cluster."""

    def __init__(
        self, nats: Client, cluster: ClusterName, *, writer: str, replicas: int = 1
    ) -> None:
        super().__init__(nats, cluster, replicas=replicas)
        self._nats = nats
        self._commit_subject = journal_commit_subject(cluster, writer)
        self._highest = Generation(0)  # of what this writer has ever sent
        self._epoch: JournalEpoch | None = None
        self._known: OrderedDict[Identity, Known] = OrderedDict()
        self._waiting: deque[tuple[Entry, asyncio.Future[None]]] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._batches = 0
        self._writer = writer

    def use_epoch(self, epoch: JournalEpoch | None) -> None:
        self._epoch = epoch
        self._known.clear()

    async def write(self, leases: Sequence[Lease]) -> None:
        await self._enter([Entry(lease) for lease in leases])

    async def bury(self, lease: Lease) -> None:
        await self._enter([Entry(lease, is_tombstone=True)])

    async def _enter(self, entries: Sequence[Entry]) -> None:
        loop = asyncio.get_running_loop()
        if len(self._waiting) + len(entries) > _WAITING_MAX:
            raise Busy(f"{_WAITING_MAX} steps wait for the journal")
        futures = []
        for entry in entries:
            futures.append(loop.create_future())
            self._waiting.append((entry, futures[-1]))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="journal")
        with ALLOCATOR_JOURNAL_SECONDS.time():
            await asyncio.gather(*futures)

    async def _flush(self) -> None:
        while self._waiting:
            batch: dict[Identity, tuple[Entry, list[asyncio.Future[None]]]] = {}
            # One batch holds an identity once: two steps of it must not check one sequence.
            while self._waiting and len(batch) < _BATCH_MAX:
                entry, future = self._waiting[0]
                identity = entry.lease.identity
                if identity in batch and batch[identity][0] != entry:
                    break
                self._waiting.popleft()
                batch.setdefault(identity, (entry, []))[1].append(future)
            await self._write_batch([entry for entry, _ in batch.values()], batch)

    async def _write_batch(
        self,
        entries: list[Entry],
        batch: dict[Identity, tuple[Entry, list[asyncio.Future[None]]]],
    ) -> None:
        problem: TryLater | None = None
        try:
            await self._write_newest(entries)
        except TryLater as error:
            problem = error
        _settle((future for _, futures in batch.values() for future in futures), problem)

    async def _write_newest(self, entries: list[Entry]) -> None:
        """Equal is done, newer is superseded; store the rest, or the epoch is lost."""
        refused_at: list[Known] = []
        while True:
            await self._learn([entry.lease.identity for entry in entries])
            # A newer step is never overwritten, however its sequence came to be known.
            entries = [
                each for each in entries if self._known[each.lease.identity].rank < each.rank
            ]
            known = [self._known[entry.lease.identity] for entry in entries]
            if not entries:
                return
            if known == refused_at:  # nobody else wrote them: the epoch was refused
                raise EpochLost("the journal's epoch is not the one this allocator opened")
            if await self._commit(entries, known):
                return
            refused_at = known

    async def _commit(self, entries: list[Entry], known: list[Known]) -> bool:
        """Whether all were stored. False: a compare-and-set failed, nothing was stored."""
        epoch = self._epoch
        if epoch is None:
            raise EpochLost("no epoch is open yet: recovery runs, try again")
        self._batches += 1
        identifier = f"{self._writer}-{epoch.revision}-{self._batches}"
        # Told before it is sure to be stored: too high makes a rebuild, too low loses a lease.
        self._highest = max([self._highest, *(entry.lease.generation for entry in entries)])
        try:
            for number, (entry, last) in enumerate(zip(entries, known, strict=True), 1):
                await self._nats.publish(
                    journal_lease_subject(self._cluster, entry.lease.identity),
                    entry.body(),
                    headers=batch_headers(identifier, number)
                    | entry.headers()
                    | {"Nats-Expected-Last-Subject-Sequence": str(last.sequence)},
                )
            commit = await self._nats.request(
                self._commit_subject,
                commit_body(self._highest),
                timeout=TIMEOUT_S,
                headers=batch_headers(identifier, len(entries) + 1)
                | {
                    "Nats-Batch-Commit": "1",
                    "Nats-Expected-Last-Subject-Sequence": str(epoch.revision),
                    "Nats-Expected-Last-Subject-Sequence-Subject": journal_epoch_subject(
                        self._cluster
                    ),
                },
            )
        except (nats.errors.Error, TimeoutError, OSError) as error:
            self._forget(entries)
            raise Unavailable(f"the journal did not answer: {error}") from error
        answer = json.loads(commit.data)
        if refusal := answer.get("error"):
            self._forget(entries)
            if refusal.get("err_code") == WRONG_LAST_SEQUENCE:
                return False
            raise problem_of("the journal", refusal)
        first = int(answer["seq"]) - len(entries)
        for number, entry in enumerate(entries):
            self._remember(entry.lease.identity, Known(first + number, entry.rank))
        return True

    async def _learn(self, identities: list[Identity]) -> None:
        """What the journal holds of each, in one question for those that are not known."""
        subjects = {
            journal_lease_subject(self._cluster, identity): identity
            for identity in identities
            if identity not in self._known
        }
        if not subjects:
            return
        stored = await self._reads.last_of(list(subjects))
        for subject, identity in subjects.items():
            found = stored.get(subject)
            last = NOTHING
            if found is not None:
                last = Known(found.sequence, rank_of(identity.token, found.data))
            self._remember(identity, last)

    def _remember(self, identity: Identity, last: Known) -> None:
        self._known[identity] = last
        self._known.move_to_end(identity)
        while len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def _forget(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._known.pop(entry.lease.identity, None)


def _settle(futures: Any, problem: Exception | None) -> None:
    for future in futures:
        if future.done():  # the caller's deadline passed
            continue
        if problem is None:
            future.set_result(None)
        else:
            future.set_exception(problem)
