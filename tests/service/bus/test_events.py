"""Events over a real JetStream: each is stored once, and losing one costs nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client

from shared.bus.connection import connect_bus
from shared.bus.events import EventLog
from shared.messages.events import EVENT_STREAM, NodeEvent
from shared.telemetry.metrics import EVENTS_LOST_TOTAL
from tests.support.allocators import CLUSTER, settings
from tests.support.servers import NatsServer, RedisServer


def event(node: str) -> NodeEvent:
    return NodeEvent(
        verb="joined", node=node, instance=f"ins-{node}", at=datetime(2026, 1, 1, tzinfo=UTC)
    )


async def stored(bus: Client) -> int:
    return (await bus.jetstream().stream_info(EVENT_STREAM)).state.messages


def lost() -> float:
    return float(EVENTS_LOST_TOTAL.labels("node")._value.get())


@pytest.fixture
async def bus(nats_server: NatsServer, redis_server: RedisServer) -> AsyncIterator[Client]:
    client = await connect_bus(settings(nats_server, redis_server), client_name="test")
    try:
        yield client
    finally:
        await client.close()


async def test_every_event_that_was_told_is_stored_before_the_log_is_closed(
    bus: Client,
) -> None:
    events = EventLog(bus, cluster=CLUSTER)
    await events.ensure_stream()

    for number in range(1000):
        events.tell(event(f"node-{number}"), message_id=f"joined/{number}")
    await events.aclose()

    assert await stored(bus) == 1000


async def test_the_same_event_told_by_two_is_stored_once(bus: Client) -> None:
    one, two = EventLog(bus, cluster=CLUSTER), EventLog(bus, cluster=CLUSTER)
    await one.ensure_stream()
    await two.ensure_stream()

    one.tell(event("node-1"), message_id="joined/1")
    two.tell(event("node-1"), message_id="joined/1")
    await one.aclose()
    await two.aclose()

    assert await stored(bus) == 1


async def test_events_that_nobody_keeps_are_counted_as_lost(bus: Client) -> None:
    events = EventLog(bus, cluster=CLUSTER)
    await events.ensure_stream()
    await bus.jetstream().delete_stream(EVENT_STREAM)
    before = lost()

    for number in range(3):
        events.tell(event(f"node-{number}"), message_id=f"joined/{number}")
    await events.aclose()

    assert lost() - before == 3


async def test_a_refused_event_is_lost_alone(bus: Client) -> None:
    events = EventLog(bus, cluster=CLUSTER)
    await events.ensure_stream()
    before = lost()

    too_large = event("node-1").model_copy(update={"detail": "x" * 600_000})
    config = (await bus.jetstream().stream_info(EVENT_STREAM)).config
    await bus.jetstream().update_stream(config.evolve(max_msg_size=10_000))
    events.tell(too_large, message_id="joined/1")
    events.tell(event("node-2"), message_id="joined/2")
    await events.aclose()

    assert lost() - before == 1
    assert await stored(bus) == 1
