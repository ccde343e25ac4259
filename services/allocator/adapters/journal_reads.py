"""Many messages of the journal for one question: JetStream's direct get of many subjects.

The server answers one question with a stream of messages and an end-of-batch mark, so a
hundred subjects, or a thousand records of a rebuild, cost one round trip. Any replica answers,
and one that is behind answers with the past. The end of a batch says how far its replica was:
where a decision hangs on it, the leader is asked first which subjects there are and how far
the stream is, and an answer of a replica that was not as far is asked for again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.errors import Unavailable

from .journal_stream import JournalStream

SUBJECTS_MAX: Final = 1024  # of one question; the server refuses more
_AGAIN_S: Final = 0.05  # a replica that is behind hears of the rest within its heartbeat
_END_OF_BATCH: Final = "204"
_NOTHING: Final = "404"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One message as the stream holds it."""

    subject: str
    sequence: int
    data: bytes


class JournalReads:
    """Reads of one stream, each message awaited for at most `timeout_s`."""

    def __init__(
        self, nats: Client, stream: JournalStream, *, anchor: str, timeout_s: float
    ) -> None:
        self._nats = nats
        self._stream = stream
        self._subject = f"$JS.API.DIRECT.GET.{stream.name}"
        self._anchor = anchor  # always there: an answer with nothing would prove nothing
        self._timeout_s = timeout_s

    async def last_of(self, subjects: Sequence[str]) -> dict[str, Stored]:
        """The last message of each subject that has one, as some replica has it."""
        found = {}
        for start in range(0, len(subjects), SUBJECTS_MAX):
            question = {"multi_last": list(subjects[start : start + SUBJECTS_MAX])}
            answer = await self._ask(question)
            found.update({each.subject: each for each in answer.found})
        return found

    async def all_of(self, pattern: str, *, at_least: int = 0) -> AsyncIterator[Stored]:
        """The last message of every subject that matches, at a moment at which the stream held
        this sequence. Raises Unavailable when no replica is as far in time."""
        subjects, last = await self._listed(pattern, at_least)
        for start in range(0, len(subjects), SUBJECTS_MAX - 1):
            batch = subjects[start : start + SUBJECTS_MAX - 1]
            for stored in await self._as_of(last, batch):
                yield stored

    async def _listed(self, pattern: str, at_least: int) -> tuple[list[str], int]:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            subjects, last = await self._stream.subjects(pattern)
            if last >= at_least:
                return subjects, last
            await self._pause(deadline)  # it leads no more, and has not heard so yet

    async def _as_of(self, last: int, subjects: Sequence[str]) -> list[Stored]:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            answer = await self._ask({"multi_last": [*subjects, self._anchor]})
            if answer.up_to >= last:
                return [each for each in answer.found if each.subject != self._anchor]
            await self._pause(deadline)

    async def _pause(self, deadline: float) -> None:
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable("the journal: its replicas are behind")
        await asyncio.sleep(_AGAIN_S)

    async def _ask(self, question: dict[str, Any]) -> _Answer:
        answer = _Answer(asyncio.get_running_loop().create_future())
        try:
            inbox = self._nats.new_inbox()
            # By callback: waiting for each message takes longer than reading it.
            subscription = await self._nats.subscribe(inbox, cb=answer.hear)
            try:
                await self._nats.publish(
                    self._subject, json.dumps(question).encode(), reply=inbox
                )
                await self._heard(answer)
            finally:
                await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error
        return answer

    async def _heard(self, answer: _Answer) -> None:
        """As long as messages come, each within the limit."""
        while True:
            heard = len(answer.found)
            try:
                return await asyncio.wait_for(asyncio.shield(answer.end), self._timeout_s)
            except TimeoutError:
                if len(answer.found) == heard:
                    raise


class _Answer:
    """The messages that answer one question, and their end."""

    def __init__(self, end: asyncio.Future[None]) -> None:
        self.end = end
        self.found: list[Stored] = []
        self.up_to = 0  # the last sequence that the replica held

    async def hear(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status")
        if status is None:
            self.found.append(_stored(message, headers))
        elif self.end.done():
            return
        elif status in (_END_OF_BATCH, _NOTHING):
            self.up_to = int(headers.get("Nats-UpTo-Sequence", 0))
            self.end.set_result(None)
        else:
            told = headers.get("Description", status)
            self.end.set_exception(Unavailable(f"the journal: {told}"))


def _stored(message: Msg, headers: dict[str, str]) -> Stored:
    return Stored(
        subject=headers["Nats-Subject"],
        sequence=int(headers["Nats-Sequence"]),
        data=message.data,
    )
