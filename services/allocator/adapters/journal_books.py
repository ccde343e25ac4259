"""The journal as it is read: the epoch record, every lease, the highest generation.

Reads that a decision hangs on go to the stream's leader, because a replica may be behind; the
many messages of a rebuild come from replicas that prove to be as far as the leader was, and as
the newest epoch record that this allocator knows of.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import JournalEpoch
from shared.errors import Unavailable
from shared.ids import ClusterName, Generation
from shared.messages.subjects import (
    journal_commit_subject,
    journal_epoch_subject,
    journal_page_subject,
    journal_root,
)
from shared.store.lease_records import is_newer

from .journal_entries import Entry, generation_of, highest_of_commit, lease_of, rank_of
from .journal_pages import entries_of, newest_of
from .journal_reads import JournalReads, Stored
from .journal_stream import JournalStream

TIMEOUT_S: Final = 5.0
WRONG_LAST_SEQUENCE: Final = 10071
NO_MESSAGE: Final = 10037
_NEWER_MAX: Final = 256  # records that are written again at once


class JournalBooks:
    """One cluster's journal without its leases' steps, which `JetStreamJournal` writes."""

    def __init__(self, nats: Client, cluster: ClusterName, *, replicas: int = 1) -> None:
        self._js = nats.jetstream(timeout=TIMEOUT_S)
        self._cluster = cluster
        self._prefix = f"{journal_root(cluster)}.lease."
        self._all_pages = journal_page_subject(cluster, "*", "*")
        self._stream = JournalStream(nats, cluster, timeout_s=TIMEOUT_S, replicas=replicas)
        self._reads = JournalReads(
            nats, self._stream, anchor=journal_epoch_subject(cluster), timeout_s=TIMEOUT_S
        )
        self._written = 0  # the sequence of the newest epoch record that is known to be there

    async def ensure_stream(self) -> None:
        """Make the stream unless it is there: at start, and when it was deleted since."""
        await self._stream.ensure()

    async def is_there(self) -> bool:
        return await self._stream.is_there()

    async def check_room(self) -> None:
        await self._stream.check_room()

    async def probe(self) -> None:
        """Raise what a step's write would raise."""
        await self._stream.probe()

    async def epoch(self) -> JournalEpoch | None:
        stored = await self._last(journal_epoch_subject(self._cluster))
        if stored is None:
            return None
        body = json.loads(stored.data or b"{}")
        return JournalEpoch(
            number=int(body["number"]),
            is_open=bool(body["is_open"]),
            opened_at=datetime.fromisoformat(body["at"]),
            revision=sequence_of(stored),
            is_rewrite=bool(body.get("is_rewrite", False)),
            highest=Generation(int(body.get("highest", 0))),
            counted_to=int(body.get("counted_to", 0)),
        )

    async def put_epoch(
        self,
        number: int,
        *,
        is_open: bool,
        at: datetime,
        after: JournalEpoch | None,
        is_rewrite: bool = False,
        highest: Generation | None = None,
    ) -> JournalEpoch | None:
        # What was counted up to an older claim stays true, whoever claims next.
        counted = (after.highest, after.counted_to) if after is not None else (Generation(0), 0)
        if highest is not None and after is not None:
            counted = (highest, after.revision)
        body = {
            "v": 1,
            "number": number,
            "is_open": is_open,
            "at": at.isoformat(),
            "is_rewrite": is_rewrite,
            "highest": str(counted[0]),
            "counted_to": counted[1],
        }
        revision = after.revision if after is not None else 0
        try:
            stored = await self._js.publish(
                journal_epoch_subject(self._cluster),
                json.dumps(body).encode(),
                headers={"Nats-Expected-Last-Subject-Sequence": str(revision)},
            )
        except nats.js.errors.APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                return None
            raise Unavailable(f"the journal: {error}") from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error
        self._written = int(stored.seq)
        return JournalEpoch(
            number=number,
            is_open=is_open,
            opened_at=at,
            revision=int(stored.seq),
            is_rewrite=is_rewrite,
            highest=counted[0],
            counted_to=counted[1],
        )

    async def highest(self) -> Generation:
        """Of everything that was ever journaled, in whatever order its writers came.

        Each writer's last commit bears the highest generation it has written; the epoch record
        bears that of all commits before it; pages are looked at. A commit of an older release
        bears none: then every lease is looked at.
        """
        record = await self.epoch()
        highest = record.highest if record is not None else Generation(0)
        async for entry in self._paged():
            highest = max(highest, entry.rank[0])
        sequence = record.counted_to if record is not None else 0
        while (commit := await self._next_commit(sequence + 1)) is not None:
            told = highest_of_commit(commit.data or b"")
            if told is None:
                return max(highest, await self._highest_lease())
            highest = max(highest, told)
            sequence = sequence_of(commit)
        return highest

    async def leases(self) -> AsyncIterator[Lease]:
        """Every lease: what has a place of its own, then what only pages know of."""
        # Pages first: what is folded meanwhile is then seen twice, never missed.
        paged = newest_of([each async for each in self._paged()])
        async for stored in self._all_of(f"{self._prefix}*"):
            token, body = stored.subject.removeprefix(self._prefix), stored.data
            newer = paged.pop(token, None)
            if newer is not None and (not body or newer.rank > rank_of(body)):
                body = newer.body
            if (lease := lease_of(token, body)) is not None:
                yield lease
        for entry in paged.values():
            if (lease := lease_of(entry.token, entry.body)) is not None:
                yield lease

    async def count_newer(self) -> int:
        """What a release that knows neither pages nor version 2 of a record could not read."""
        on_pages = sum([1 async for _ in self._paged()])
        return on_pages + sum([len(batch) async for batch in self._newer()])

    async def _newer(self) -> AsyncIterator[list[Stored]]:
        """Leases' own places with a newer record, a few at a time."""
        found: list[Stored] = []
        async for stored in self._all_of(f"{self._prefix}*"):
            if is_newer(stored.data):
                found.append(stored)
            if len(found) == _NEWER_MAX:
                yield found
                found = []
        yield found

    async def _paged(self) -> AsyncIterator[Entry]:
        """What stands on pages of all writers and is not folded yet."""
        async for page in self._all_of(self._all_pages):
            for entry in entries_of(page.data):
                yield entry

    def _all_of(self, pattern: str) -> AsyncIterator[Stored]:
        return self._reads.all_of(pattern, at_least=self._written)

    async def _highest_lease(self) -> Generation:
        highest = Generation(0)
        async for stored in self._all_of(f"{self._prefix}*"):
            if stored.data:
                highest = max(highest, generation_of(stored.data))
        return highest

    async def _last(self, subject: str) -> RawStreamMsg | None:
        """The last message of a subject, as the stream's leader has it."""
        return await self._ask_leader(subject=subject)

    async def _next_commit(self, sequence: int) -> RawStreamMsg | None:
        subject = journal_commit_subject(self._cluster, "*")
        return await self._ask_leader(subject=subject, sequence=sequence)

    async def _ask_leader(
        self, *, subject: str, sequence: int | None = None
    ) -> RawStreamMsg | None:
        try:
            return await self._js.get_msg(
                self._stream.name, sequence, subject, next=sequence is not None
            )
        except nats.js.errors.APIError as error:
            if error.err_code == NO_MESSAGE:
                return None
            raise Unavailable(f"the journal: {error.description}") from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error


def sequence_of(stored: RawStreamMsg) -> int:
    assert stored.seq is not None, "a stored message has a sequence"
    return stored.seq
