"""The journal's stream in JetStream: made, kept from losing leases, and asked how full it is.

A stream drops its oldest messages when it is full, unless it is told to refuse new ones; here
the oldest message may be a lease. Size and replicas are the operator's; what could lose a
lease is set back to what it must be.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from dataclasses import dataclass
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from shared.errors import StorageFull, Unavailable
from shared.ids import ClusterName
from shared.messages.subjects import journal_root, journal_stream

log = logging.getLogger(__name__)

_STREAM_EXISTS: Final = 10058
_STREAM_NOT_FOUND: Final = 10059
# Maximum bytes and messages of the stream, JetStream's own storage, the account's.
_FULL_CODES: Final = frozenset({10077, 10047, 10028, 10023, 10002})
_INCOMPLETE: Final = 10176  # a batch of which a message could not be put aside
_FULL_AT: Final = 0.95  # of the limit: what is under way still fits into the rest
_LED_S: Final = 5.0
_LED_POLL_S: Final = 0.05

# What must hold of the stream, whoever made it.
_REQUIRED: Final[dict[str, Any]] = {
    "max_msgs_per_subject": 1,
    "discard": "new",
    "max_age": 0,
    "allow_atomic": True,
    "allow_direct": True,
    "allow_msg_ttl": True,
}


@dataclass(frozen=True, slots=True)
class _Some:
    """A page of the subjects that match."""

    names: tuple[str, ...]
    total: int
    last: int  # sequence of the stream


class JournalStream:
    """One cluster's stream, asked through JetStream's API."""

    def __init__(
        self, nats: Client, cluster: ClusterName, *, timeout_s: float, replicas: int = 1
    ) -> None:
        self._nats = nats
        self._timeout_s = timeout_s
        self._replicas = replicas
        self._probe_subject = f"{journal_root(cluster)}.probe"
        self._subjects = [f"{journal_root(cluster)}.>"]
        self.name = journal_stream(cluster)

    async def ensure(self) -> None:
        """Make the stream unless it is there; change what could lose a lease."""
        wanted = _REQUIRED | {
            "name": self.name,
            "subjects": self._subjects,
            "storage": "file",
            "num_replicas": self._replicas,
        }
        made = await self.ask(f"STREAM.CREATE.{self.name}", wanted)
        error = made.get("error")
        if error and error.get("err_code") != _STREAM_EXISTS:
            raise problem_of(f"journal stream {self.name}", error)
        found = (await self._led())["config"]
        wrong = {name for name, value in _REQUIRED.items() if found.get(name, 0) != value}
        if not wrong:
            return
        log.warning("journal stream is set right", extra={"settings": sorted(wrong)})
        changed = await self.ask(f"STREAM.UPDATE.{self.name}", found | _REQUIRED)
        if error := changed.get("error"):
            raise problem_of(
                f"journal stream {self.name} could lose leases by its {sorted(wrong)}", error
            )

    async def info(self) -> dict[str, Any]:
        """Its state and configuration, from its leader. Raises Unavailable, also when gone."""
        found = await self.ask(f"STREAM.INFO.{self.name}", {})
        if error := found.get("error"):
            raise problem_of(f"journal stream {self.name}", error)
        return found

    async def _led(self) -> dict[str, Any]:
        """The same, once it has a leader: until then a read is answered by nobody."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LED_S
        while True:
            found = await self.ask(f"STREAM.INFO.{self.name}", {})
            error, cluster = found.get("error"), found.get("cluster", {})
            if error is None and (not cluster or cluster.get("leader")):
                return found
            if loop.time() > deadline:
                raise problem_of(
                    f"journal stream {self.name}", error or {"description": "has no leader"}
                )
            await asyncio.sleep(_LED_POLL_S)

    async def is_there(self) -> bool:
        found = await self.ask(f"STREAM.INFO.{self.name}", {})
        return bool(found.get("error", {}).get("err_code") != _STREAM_NOT_FOUND)

    async def check_room(self) -> None:
        """Raise StorageFull while there still is room for the steps that are under way."""
        found = await self.info()
        used, limit = found["state"]["bytes"], found["config"].get("max_bytes", -1)
        if limit > 0 and used > limit * _FULL_AT:
            raise StorageFull(
                f"journal stream {self.name} holds {used} of max_bytes {limit}: raise it"
            )
        account = await self.ask("INFO", {})
        used, limit = (
            account.get("storage", 0),
            account.get("limits", {}).get("max_storage", -1),
        )
        if limit > 0 and used > limit * _FULL_AT:
            raise StorageFull(
                f"the bus' account stores {used} of max_storage {limit} bytes: raise it"
            )

    async def probe(self) -> None:
        """Write a batch that says nothing, as steps are written. Raises what they would get."""
        batch = uuid.uuid4().hex
        try:
            await self._nats.publish(self._probe_subject, b"", headers=batch_headers(batch, 1))
            answer = await self._nats.request(
                self._probe_subject,
                b"",
                timeout=self._timeout_s,
                headers=batch_headers(batch, 2) | {"Nats-Batch-Commit": "1"},
            )
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(f"the journal did not answer: {error}") from error
        if refusal := json.loads(answer.data).get("error"):
            raise problem_of("the journal", refusal)

    async def subjects(self, pattern: str) -> tuple[list[str], int]:
        """Those that match and have a message, and the last sequence that the leader held
        before it told the first of them."""
        while True:
            page = await self._some(pattern, 0)
            found, last, total = list(page.names), page.last, page.total
            while page.names and len(found) < total and page.total == total:
                page = await self._some(pattern, len(found))
                found += page.names
            if page.total == total:
                return found, last
            # Some came or went between two pages: one may have been passed over.

    async def _some(self, pattern: str, offset: int) -> _Some:
        wanted = {"subjects_filter": pattern, "offset": offset}
        found = await self.ask(f"STREAM.INFO.{self.name}", wanted)
        if error := found.get("error"):
            raise problem_of(f"journal stream {self.name}", error)
        state = found["state"]
        names = tuple(state.get("subjects") or ())
        return _Some(names, found.get("total", len(names)), state["last_seq"])

    async def ask(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self._nats.request(
                f"$JS.API.{call}", json.dumps(body).encode(), timeout=self._timeout_s
            )
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise Unavailable(
                f"the journal did not answer: {str(error) or type(error).__name__}"
            ) from error
        found: dict[str, Any] = json.loads(answer.data)
        return found


def batch_headers(identifier: str, number: int) -> dict[str, str]:
    """Of one message of an atomic batch; the last one commits it."""
    return {"Nats-Batch-Id": identifier, "Nats-Batch-Sequence": str(number)}


def problem_of(what: str, error: dict[str, Any]) -> StorageFull | Unavailable:
    """The error that one of JetStream's answers stands for."""
    said = f"{what}: {error.get('description', error)}"
    if error.get("err_code") == _INCOMPLETE:
        said += " (is its server's disk full?)"
    return StorageFull(said) if error.get("err_code") in _FULL_CODES else Unavailable(said)
