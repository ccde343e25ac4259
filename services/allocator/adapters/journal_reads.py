"""Many messages of the journal for one question: JetStream's direct get in batches.

The server answers one question with a stream of messages and an end-of-batch mark, so a
hundred subjects, or a thousand records of a rebuild, cost one round trip.
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

SUBJECTS_MAX: Final = 1024  # of one question; the server refuses more
_PAGE_MAX: Final = 1000
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

    def __init__(self, nats: Client, stream: str, *, timeout_s: float) -> None:
        self._nats = nats
        self._subject = f"$JS.API.DIRECT.GET.{stream}"
        self._timeout_s = timeout_s

    async def last_of(self, subjects: Sequence[str]) -> dict[str, Stored]:
        """The last message of each subject that has one."""
        found = {}
        for start in range(0, len(subjects), SUBJECTS_MAX):
            question = {"multi_last": list(subjects[start : start + SUBJECTS_MAX])}
            found.update({each.subject: each for each in await self._ask(question)})
        return found

    async def all_below(self, pattern: str, *, first: int = 1) -> AsyncIterator[Stored]:
        """Every message that matches, from a sequence on, in the order of the stream."""
        sequence = first
        while True:
            page = await self._ask(
                {"seq": sequence, "next_by_subj": pattern, "batch": _PAGE_MAX}
            )
            for stored in page:
                yield stored
            if len(page) < _PAGE_MAX:
                return
            sequence = page[-1].sequence + 1

    async def _ask(self, question: dict[str, Any]) -> list[Stored]:
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
        return answer.found

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

    async def hear(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status")
        if status is None:
            self.found.append(_stored(message, headers))
        elif self.end.done():
            return
        elif status in (_END_OF_BATCH, _NOTHING):
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
