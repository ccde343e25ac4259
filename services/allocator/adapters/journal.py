"""Implements Journal on JetStream: the last value of every fixed lease, and the epoch.

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
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import JournalEpoch
from shared.errors import Busy, EpochLost, Unavailable
from shared.ids import ClusterName, Generation, Identity
from shared.messages.subjects import (
    journal_epoch_subject,
    journal_lease_subject,
    journal_root,
    journal_stream,
)
from shared.telemetry.metrics import ALLOCATOR_JOURNAL_SECONDS

from .journal_entries import NOTHING, Entry, Known, generation_of, lease_of, rank_of
from .journal_reads import JournalReads

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 5.0
_BATCH_MAX: Final = 64
_WAITING_MAX: Final = 4096
_KNOWN_MAX: Final = 200_000  # identities whose last sequence is remembered
_LOOK_BACK_MAX: Final = 256  # messages whose writers may have overtaken each other
_WRONG_LAST_SEQUENCE: Final = 10071
_STREAM_EXISTS: Final = 10058


class JetStreamJournal:
    """The journal of one cluster."""

    def __init__(self, nats: Client, cluster: ClusterName, *, writer: str) -> None:
        self._nats = nats
        self._js = nats.jetstream(timeout=_TIMEOUT_S)
        self._cluster = cluster
        self._stream = journal_stream(cluster)
        self._prefix = f"{journal_root(cluster)}.lease."
        self._reads = JournalReads(nats, self._stream, timeout_s=_TIMEOUT_S)
        self._commit_subject = f"{journal_root(cluster)}.commit.{writer}"
        self._epoch: JournalEpoch | None = None
        self._known: OrderedDict[Identity, Known] = OrderedDict()
        self._waiting: deque[tuple[Entry, asyncio.Future[None]]] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._batches = 0
        self._writer = writer

    async def ensure_stream(self) -> None:
        """Make the stream unless another replica did."""
        wanted = {
            "name": self._stream,
            "subjects": [f"{journal_root(self._cluster)}.>"],
            "max_msgs_per_subject": 1,
            "storage": "file",
            "allow_atomic": True,
            "allow_direct": True,
            "allow_msg_ttl": True,
        }
        answer = await self._ask(f"$JS.API.STREAM.CREATE.{self._stream}", wanted)
        error = answer.get("error")
        if error and error.get("err_code") != _STREAM_EXISTS:
            raise Unavailable(f"journal stream {self._stream}: {error['description']}")

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
        problem: EpochLost | Unavailable | None = None
        try:
            await self._write_newest(entries)
        except (EpochLost, Unavailable) as error:
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
        try:
            for number, (entry, last) in enumerate(zip(entries, known, strict=True), 1):
                await self._nats.publish(
                    journal_lease_subject(self._cluster, entry.lease.identity),
                    entry.body(),
                    headers=_batch_headers(identifier, number)
                    | entry.headers()
                    | {"Nats-Expected-Last-Subject-Sequence": str(last.sequence)},
                )
            commit = await self._nats.request(
                self._commit_subject,
                b"",
                timeout=_TIMEOUT_S,
                headers=_batch_headers(identifier, len(entries) + 1)
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
        if "error" in answer:
            self._forget(entries)
            if answer["error"].get("err_code") == _WRONG_LAST_SEQUENCE:
                return False
            raise Unavailable(f"the journal: {answer['error'].get('description')}")
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

    async def epoch(self) -> JournalEpoch | None:
        stored = await self._read(journal_epoch_subject(self._cluster))
        if stored is None:
            return None
        body = json.loads(stored.data or b"{}")
        return JournalEpoch(
            number=int(body["number"]),
            is_open=bool(body["is_open"]),
            opened_at=datetime.fromisoformat(body["at"]),
            revision=_sequence(stored),
            is_rewrite=bool(body.get("is_rewrite", False)),
        )

    async def put_epoch(
        self,
        number: int,
        *,
        is_open: bool,
        at: datetime,
        after: JournalEpoch | None,
        is_rewrite: bool = False,
    ) -> JournalEpoch | None:
        revision = after.revision if after is not None else 0
        body = {
            "v": 1,
            "number": number,
            "is_open": is_open,
            "at": at.isoformat(),
            "is_rewrite": is_rewrite,
        }
        try:
            stored = await self._js.publish(
                journal_epoch_subject(self._cluster),
                json.dumps(body).encode(),
                headers={"Nats-Expected-Last-Subject-Sequence": str(revision)},
            )
        except nats.js.errors.APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                return None
            raise Unavailable(f"the journal: {error}") from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error
        return JournalEpoch(
            number=number,
            is_open=is_open,
            opened_at=at,
            revision=int(stored.seq),
            is_rewrite=is_rewrite,
        )

    async def highest(self) -> Generation:
        """Of the newest messages: writers overtake each other by a batch at most."""
        info = await self._ask(f"$JS.API.STREAM.INFO.{self._stream}", {})
        if "error" in info:
            raise Unavailable(f"journal stream: {info['error'].get('description')}")
        first = max(1, int(info["state"]["last_seq"]) - _LOOK_BACK_MAX + 1)
        highest = Generation(0)
        async for stored in self._reads.all_below(f"{self._prefix}*", first=first):
            if stored.data:
                highest = max(highest, generation_of(stored.data))
        return highest

    async def leases(self) -> AsyncIterator[Lease]:
        """Every lease, in the order of the stream."""
        async for stored in self._reads.all_below(f"{self._prefix}*"):
            lease = lease_of(stored.subject.removeprefix(self._prefix), stored.data)
            if lease is not None:
                yield lease

    async def _read(self, subject: str) -> RawStreamMsg | None:
        try:
            return await self._js.get_last_msg(self._stream, subject, direct=True)
        except nats.js.errors.NotFoundError:
            return None
        except (nats.js.errors.APIError, nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error

    async def _ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self._nats.request(
                subject, json.dumps(body).encode(), timeout=_TIMEOUT_S
            )
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error
        found: dict[str, Any] = json.loads(answer.data)
        return found


def _batch_headers(identifier: str, number: int) -> dict[str, str]:
    return {"Nats-Batch-Id": identifier, "Nats-Batch-Sequence": str(number)}


def _sequence(stored: RawStreamMsg) -> int:
    assert stored.seq is not None, "a stored message has a sequence"
    return stored.seq


def _settle(futures: Any, problem: Exception | None) -> None:
    for future in futures:
        if future.done():  # the caller's deadline passed
            continue
        if problem is None:
            future.set_result(None)
        else:
            future.set_exception(problem)
