"""The journal's stream: what it must be, what is known of its past, how it is replaced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.client import Client

from services.allocator.adapters.journal import JetStreamJournal
from services.allocator.adapters.journal_stream import JournalStream
from services.allocator.config import AllocatorSettings
from services.allocator.domain.ports import JournalEpoch
from shared.bus.connection import connect_bus
from shared.errors import StorageFull
from shared.ids import generation
from shared.messages.subjects import journal_commit_subject, journal_root, journal_stream
from tests.service.allocator.test_journal import NOW, step
from tests.support.allocators import CLUSTER
from tests.support.servers import NatsServer

STREAM = journal_stream(CLUSTER)


class Journal:
    """Writers of one journal, in one open epoch."""

    def __init__(self, bus: Client) -> None:
        self.bus = bus
        self.stream = JournalStream(bus, CLUSTER, timeout_s=5)

    async def ask(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self.stream.ask(f"STREAM.{call}.{STREAM}", body)

    async def change(self, **settings: object) -> None:
        config = (await self.stream.info())["config"]
        assert "error" not in await self.ask("UPDATE", config | settings)

    async def writer(self, name: str) -> JetStreamJournal:
        journal = JetStreamJournal(self.bus, CLUSTER, writer=name)
        await journal.ensure_stream()
        epoch = await journal.epoch()
        journal.use_epoch(epoch or await opened(journal))
        return journal


async def opened(journal: JetStreamJournal) -> JournalEpoch:
    epoch = await journal.put_epoch(1, is_open=True, at=NOW, after=None)
    assert epoch is not None
    return epoch


@pytest.fixture
async def journal(nats_server: NatsServer) -> AsyncIterator[Journal]:
    bus = await connect_bus(
        AllocatorSettings(cluster=CLUSTER, nats_url=nats_server.url), client_name="test"
    )
    try:
        yield Journal(bus)
    finally:
        await bus.close()


async def test_the_highest_generation_is_known_however_many_late_writers_came_after(
    journal: Journal,
) -> None:
    fast, late = await journal.writer("fast"), await journal.writer("late")
    await fast.write([step(5000, pod="newest")])

    await late.write([step(n, pod=f"web-{n}") for n in range(1, 401)])

    assert await late.highest() == generation(1, 5000)


async def test_the_highest_generation_outlives_its_lease_and_its_writer(
    journal: Journal,
) -> None:
    first = await journal.writer("first")
    await first.write([step(9)])
    claim = await first.put_epoch(2, is_open=False, at=NOW, after=await first.epoch())
    counted = await first.highest()
    await first.put_epoch(2, is_open=True, at=NOW, after=claim, highest=counted)
    await journal.ask("PURGE", {"filter": f"{journal_root(CLUSTER)}.lease.*"})
    await journal.ask("PURGE", {"filter": journal_commit_subject(CLUSTER, "*")})

    second = await journal.writer("second")
    claim = await second.put_epoch(3, is_open=False, at=NOW, after=await second.epoch())

    assert claim is not None
    assert await second.highest() == generation(1, 9)


async def test_a_commit_of_an_older_release_has_every_lease_looked_at(
    journal: Journal,
) -> None:
    writer = await journal.writer("new")
    await writer.write([step(7)])
    await journal.bus.jetstream().publish(journal_commit_subject(CLUSTER, "new"), b"")

    assert await writer.highest() == generation(1, 7)


async def test_a_stream_that_could_drop_leases_is_set_right(journal: Journal) -> None:
    await journal.ask(
        "CREATE",
        {
            "name": STREAM,
            "subjects": [f"{journal_root(CLUSTER)}.>"],
            "max_bytes": 1 << 20,
            "max_age": 3600 * 10**9,
            "discard": "old",
            "max_msgs_per_subject": 1,
            "storage": "file",
        },
    )

    writer = await journal.writer("new")
    await writer.write([step(1)])

    config = (await journal.stream.info())["config"]
    assert (config["discard"], config["max_age"]) == ("new", 0)
    assert config["max_bytes"] == 1 << 20, "the size is the operator's"


async def test_a_full_stream_refuses_and_loses_nothing(journal: Journal) -> None:
    writer = await journal.writer("new")
    await writer.write([step(1)])
    await journal.change(max_bytes=(await journal.stream.info())["state"]["bytes"] + 10)

    with pytest.raises(StorageFull, match="maximum bytes"):
        await writer.write([step(2, pod="web-1")])

    assert [lease async for lease in writer.leases()] == [step(1)]
    with pytest.raises(StorageFull, match="max_bytes"):
        await journal.stream.check_room()

    await journal.change(max_bytes=1 << 20)
    await writer.write([step(2, pod="web-1")])
    await journal.stream.check_room()


async def test_a_deleted_stream_is_made_again(journal: Journal) -> None:
    writer = await journal.writer("one")
    await journal.ask("DELETE", {})
    assert not await journal.stream.is_there()

    await asyncio.gather(writer.ensure_stream(), writer.ensure_stream())

    assert await journal.stream.is_there()
    assert await writer.epoch() is None


async def test_an_epoch_record_of_an_older_release_is_read(journal: Journal) -> None:
    writer = await journal.writer("one")
    old = {"v": 1, "number": 4, "is_open": True, "at": NOW.isoformat(), "is_rewrite": False}
    await journal.bus.jetstream().publish(
        f"{journal_root(CLUSTER)}.epoch", json.dumps(old).encode()
    )

    record = await writer.epoch()

    assert record is not None
    assert (record.number, record.highest, record.counted_to) == (4, 0, 0)
