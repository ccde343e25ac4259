"""Pages of the journal: what an answer waits for, and how it comes to its own place later."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from services.allocator.adapters.journal import JetStreamJournal
from services.allocator.adapters.journal_reads import JournalReads, Stored
from services.allocator.adapters.journal_stream import JournalStream
from services.allocator.config import AllocatorSettings
from services.allocator.domain.ports import JournalEpoch
from shared.bus.connection import connect_bus
from shared.errors import EpochLost, Unavailable
from shared.ids import generation
from shared.messages.subjects import journal_epoch_subject, journal_page_subject
from tests.service.allocator.test_journal import NOW, step
from tests.support.allocators import CLUSTER
from tests.support.servers import NatsServer


class Pages:
    """Writers of one journal, in one open epoch, and what stands on their pages."""

    def __init__(self, bus: Client, epoch: JournalEpoch) -> None:
        self.bus = bus
        self.epoch = epoch

    def writer(self, name: str) -> JetStreamJournal:
        journal = JetStreamJournal(self.bus, CLUSTER, writer=name)
        journal.use_epoch(self.epoch)
        return journal

    async def stored(self, *, at_least: int = 0, timeout_s: float = 5) -> list[Stored]:
        reads = JournalReads(
            self.bus,
            JournalStream(self.bus, CLUSTER, timeout_s=5),
            anchor=journal_epoch_subject(CLUSTER),
            timeout_s=timeout_s,
        )
        pages = reads.all_of(journal_page_subject(CLUSTER, "*", "*"), at_least=at_least)
        return [page async for page in pages if page.data]


async def held(journal: JetStreamJournal) -> dict[str, int]:
    return {
        lease.identity.name: lease.generation - generation(1, 0)
        async for lease in journal.leases()
    }


@pytest.fixture
async def pages(nats_server: NatsServer) -> AsyncIterator[Pages]:
    bus = await connect_bus(
        AllocatorSettings(cluster=CLUSTER, nats_url=nats_server.url), client_name="test"
    )
    try:
        journal = JetStreamJournal(bus, CLUSTER, writer="first")
        await journal.ensure_stream()
        epoch = await journal.put_epoch(1, is_open=True, at=NOW, after=None)
        assert epoch is not None
        yield Pages(bus, epoch)
    finally:
        await bus.close()


async def test_a_fold_empties_the_pages_and_loses_nothing(pages: Pages) -> None:
    one = pages.writer("one")
    await one.write([step(n, pod=f"web-{n}") for n in range(1, 2001)])
    before = await held(one)

    await one.fold()

    assert await pages.stored() == []
    assert await held(one) == before
    assert len(before) == 2000


@pytest.mark.parametrize("order", list(itertools.permutations(["one", "two", "three"])))
async def test_pages_may_be_folded_in_any_order(pages: Pages, order: tuple[str, ...]) -> None:
    writers = {name: pages.writer(name) for name in order}
    await writers["one"].write([step(1), step(4, pod="web-1")])
    await writers["two"].write([step(2), step(6, pod="web-2")])
    await writers["three"].write([step(3), step(5, pod="web-1")])

    for name in order:
        await writers[name].fold()

    assert await held(writers["one"]) == {"web-0": 3, "web-1": 5, "web-2": 6}


async def test_a_page_left_behind_is_folded_in_the_second_round_that_sees_it(
    pages: Pages,
) -> None:
    dead, living = pages.writer("dead"), pages.writer("living")
    await dead.write([step(1), step(2, pod="web-1")])
    await living.write([step(3)])
    await living.fold()

    await living.fold_left_behind()
    after_one_round = len(await pages.stored())
    await living.fold_left_behind()

    assert after_one_round == 1  # its writer may be about to fold it
    assert await pages.stored() == []
    assert await held(living) == {"web-0": 3, "web-1": 2}


async def test_what_a_tombstone_on_a_page_buries_is_no_more(pages: Pages) -> None:
    one = pages.writer("one")
    await one.write([step(1), step(2, pod="web-1")])
    await one.fold()

    await one.bury(step(1))

    assert await held(one) == {"web-1": 2}


async def test_a_page_on_the_way_counts_towards_the_highest_generation(pages: Pages) -> None:
    await pages.writer("one").write([step(7)])

    assert await pages.writer("two").highest() == generation(1, 7)


async def test_a_zombies_page_is_read_and_not_folded_by_it(pages: Pages) -> None:
    zombie, living = pages.writer("zombie"), pages.writer("living")
    await zombie.write([step(1)])
    newer = await living.put_epoch(2, is_open=True, at=NOW, after=pages.epoch)

    with pytest.raises(EpochLost):
        await zombie.fold()

    living.use_epoch(newer)
    assert len(await pages.stored()) == 1
    assert await held(living) == {"web-0": 1}


async def test_more_pages_than_may_be_open_are_folded_on_the_way(pages: Pages) -> None:
    one = pages.writer("one")

    for number in range(1, 302):
        await one.write([step(number)])

    assert len(await pages.stored()) <= 256
    assert await held(one) == {"web-0": 301}


async def test_what_is_read_is_not_older_than_what_is_known_to_be_there(pages: Pages) -> None:
    one = pages.writer("one")
    await one.write([step(1)])
    [page] = await pages.stored()

    assert await pages.stored(at_least=page.sequence) == [page]
    with pytest.raises(Unavailable, match="behind"):
        await pages.stored(at_least=page.sequence + 1, timeout_s=0.2)
