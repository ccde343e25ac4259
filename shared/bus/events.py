"""Events in JetStream: told once each (by message id), never in the way of the work itself."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import nats.errors
from nats.aio.client import Client
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
_PENDING_MAX: Final = 4096
_KEEP_S: Final = 7 * 86_400
_KEEP_BYTES: Final = 256 << 20


class EventLog:
    """Publishes what has happened. A full or absent stream costs an event, never a lease."""

    def __init__(self, nats: Client, *, cluster: ClusterName) -> None:
        self._js = nats.jetstream(timeout=_PUBLISH_S)
        self._cluster = cluster
        self._pending: set[asyncio.Task[None]] = set()

    async def ensure_stream(self) -> None:
        """Make the stream, unless another service made it before."""
        try:
            await self._js.add_stream(
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
        noun = NOUN_OF_EVENT[type(event)]
        if len(self._pending) >= _PENDING_MAX:
            EVENTS_LOST_TOTAL.labels(noun).inc()
            return
        spawn(self._pending, self._publish(event, message_id), name="event")

    async def aclose(self) -> None:
        """Wait for what was handed over, bounded by each publish's own limit."""
        await asyncio.gather(*self._pending, return_exceptions=True)

    async def _publish(self, event: Event, message_id: str) -> None:
        subject = f"{subject_root(self._cluster)}.{event_name(event)}"
        try:
            await self._js.publish(
                subject, event.model_dump_json().encode(), headers={"Nats-Msg-Id": message_id}
            )
        except (nats.errors.Error, APIError, OSError) as error:
            EVENTS_LOST_TOTAL.labels(NOUN_OF_EVENT[type(event)]).inc()
            log.warning(
                "event lost", extra={"event_name": event_name(event), "error": str(error)}
            )
