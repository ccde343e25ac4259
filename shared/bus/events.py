"""Events in JetStream: told once each (by message id), never in the way of the work itself.

They go out in batches whose acknowledgements are counted on one subscription: a request for
each would cost as much as the step that it tells of.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from dataclasses import dataclass
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError

from shared.errors import Unavailable
from shared.ids import ClusterName
from shared.messages.base import subject_root
from shared.messages.events import EVENT_STREAM, NOUN_OF_EVENT, Event, event_name
from shared.messages.subjects import EVENT_PATTERN
from shared.runtime.loops import spawn
from shared.telemetry.metrics import EVENTS_LOST_TOTAL

log = logging.getLogger(__name__)

_PUBLISH_S: Final = 5.0
_WAITING_MAX: Final = 4096
_BATCH_MAX: Final = 128
_KEEP_S: Final = 7 * 86_400
_KEEP_BYTES: Final = 256 << 20


@dataclass(slots=True)
class _Batch:
    """Events under way, and how many are not yet known to be stored."""

    pending: int
    done: asyncio.Future[None]
    refused: int = 0
    reason: str = "no answer"

    def acknowledged(self, message: Msg) -> None:
        # An error of JetStream, or the bus' "no responders", which has no body.
        if not message.data or b'"error"' in message.data:
            self.refused += 1
            self.reason = message.data.decode() or "no stream"
        self.pending -= 1
        if self.pending == 0 and not self.done.done():
            self.done.set_result(None)


class EventLog:
    """Publishes what has happened. A full or absent stream costs an event, never a lease."""

    def __init__(self, nats: Client, *, cluster: ClusterName) -> None:
        self._nats = nats
        self._root = subject_root(cluster)
        self._waiting: deque[tuple[Event, str]] = deque()
        self._flusher: set[asyncio.Task[None]] = set()
        self._inbox = nats.new_inbox()
        self._batches: dict[str, _Batch] = {}  # by the subject of their acknowledgements
        self._numbers = itertools.count(1)

    async def ensure_stream(self) -> None:
        """Make the stream, unless another service made it before."""
        await self._nats.subscribe(f"{self._inbox}.*", cb=self._hear)
        try:
            await self._nats.jetstream(timeout=_PUBLISH_S).add_stream(
                StreamConfig(
                    name=EVENT_STREAM,
                    subjects=[EVENT_PATTERN],
                    retention=RetentionPolicy.LIMITS,
                    storage=StorageType.FILE,
                    max_age=_KEEP_S,
                    max_bytes=_KEEP_BYTES,
                )
            )
        except BadRequestError:
            log.info("event stream exists already")
        except (APIError, nats.errors.Error) as error:
            raise Unavailable(f"event stream: {error}") from error

    def tell(self, event: Event, *, message_id: str) -> None:
        """Hand an event over; the same message id is stored once."""
        if len(self._waiting) >= _WAITING_MAX:
            EVENTS_LOST_TOTAL.labels(NOUN_OF_EVENT[type(event)]).inc()
            return
        self._waiting.append((event, message_id))
        if not self._flusher:
            spawn(self._flusher, self._flush(), name="events")

    async def aclose(self) -> None:
        """Wait for what was handed over, bounded by each batch's own limit."""
        await asyncio.gather(*self._flusher, return_exceptions=True)

    async def _hear(self, message: Msg) -> None:
        batch = self._batches.get(message.subject)
        if batch is not None:  # else it came too late
            batch.acknowledged(message)

    async def _flush(self) -> None:
        while self._waiting:
            kind = type(self._waiting[0][0])
            events: list[tuple[Event, str]] = []
            while self._waiting and len(events) < _BATCH_MAX:
                if type(self._waiting[0][0]) is not kind:  # counted by what they tell of
                    break
                events.append(self._waiting.popleft())
            await self._publish(NOUN_OF_EVENT[kind], events)

    async def _publish(self, noun: str, events: list[tuple[Event, str]]) -> None:
        inbox = f"{self._inbox}.{next(self._numbers)}"
        batch = _Batch(len(events), asyncio.get_running_loop().create_future())
        self._batches[inbox] = batch
        try:
            async with asyncio.timeout(_PUBLISH_S):
                for event, message_id in events:
                    await self._nats.publish(
                        f"{self._root}.{event_name(event)}",
                        event.model_dump_json().encode(),
                        reply=inbox,
                        headers={"Nats-Msg-Id": message_id},
                    )
                await batch.done
        except (TimeoutError, nats.errors.Error, OSError) as error:
            batch.reason = str(error) or batch.reason
        finally:
            del self._batches[inbox]
        lost = batch.pending + batch.refused
        if lost:
            EVENTS_LOST_TOTAL.labels(noun).inc(lost)
            log.warning("events lost", extra={"count": lost, "error": batch.reason})
