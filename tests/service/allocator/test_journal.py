"""The journal over a real JetStream: who may write, and what is never overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from services.allocator.adapters.journal import JetStreamJournal
from services.allocator.adapters.journal_entries import TOMBSTONE_TTL_S
from services.allocator.config import AllocatorSettings
from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import JournalEpoch
from shared.addresses import AddressState
from shared.bus.connection import connect_bus
from shared.errors import EpochLost
from shared.ids import Identity, generation
from shared.messages.subjects import journal_lease_subject, journal_stream
from tests.support.allocators import CLUSTER
from tests.support.servers import NatsServer
from tests.unit.allocator.test_codec import BOUND

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Journals:
    """Two replicas' journals on one stream, in the same open epoch."""

    one: JetStreamJournal
    two: JetStreamJournal
    epoch: JournalEpoch
    bus: Client

    async def held(self) -> dict[str, Lease]:
        return {lease.identity.name: lease async for lease in self.one.leases()}

    async def last_sequence(self) -> int:
        info = await self.bus.jetstream().stream_info(journal_stream(CLUSTER))
        return info.state.last_seq

    async def message_of(self, pod: str) -> RawStreamMsg:
        subject = journal_lease_subject(CLUSTER, Identity("default", pod, "berth"))
        return await self.bus.jetstream().get_last_msg(journal_stream(CLUSTER), subject)


class FoldingJournal(JetStreamJournal):
    """Folds its pages at once: what it wrote stands on the leases' own subjects."""

    async def write(self, leases: Sequence[Lease]) -> None:
        await super().write(leases)
        await self.fold()

    async def settle(self, leases: Sequence[Lease]) -> None:
        await super().settle(leases)
        await self.fold()

    async def bury(self, lease: Lease) -> None:
        await super().bury(lease)
        await self.fold()


@pytest.fixture(params=[JetStreamJournal, FoldingJournal], ids=["paged", "folded"])
async def journals(
    nats_server: NatsServer, request: pytest.FixtureRequest
) -> AsyncIterator[Journals]:
    kind: type[JetStreamJournal] = request.param
    bus = await connect_bus(
        AllocatorSettings(cluster=CLUSTER, nats_url=nats_server.url), client_name="test"
    )
    try:
        one = kind(bus, CLUSTER, writer="one")
        two = kind(bus, CLUSTER, writer="two")
        await one.ensure_stream()
        await two.ensure_stream()
        epoch = await one.put_epoch(1, is_open=True, at=NOW, after=None)
        assert epoch is not None
        one.use_epoch(epoch)
        two.use_epoch(epoch)
        yield Journals(one, two, epoch, bus)
    finally:
        await bus.close()


def step(counter: int, *, pod: str = "web-0", epoch: int = 1) -> Lease:
    return replace(
        BOUND,
        identity=Identity("default", pod, "berth"),
        generation=generation(epoch, counter),
    )


async def test_the_journal_holds_the_last_step_of_each_identity(journals: Journals) -> None:
    await journals.one.write([step(1), step(2, pod="web-1")])
    await journals.one.write([step(3)])

    assert await journals.held() == {"web-0": step(3), "web-1": step(2, pod="web-1")}


async def test_two_replicas_take_turns_on_one_identity(journals: Journals) -> None:
    await journals.one.write([step(1)])
    await journals.two.write([step(2)])
    await journals.one.write([step(3)])

    assert await journals.held() == {"web-0": step(3)}


async def test_writing_a_step_again_changes_nothing(journals: Journals) -> None:
    await journals.one.write([step(1)])

    await journals.two.write([step(1)])

    assert await journals.held() == {"web-0": step(1)}


async def test_a_late_step_never_overwrites_a_newer_one_it_knew_of(journals: Journals) -> None:
    await journals.one.write([step(1)])
    await journals.two.write([step(3)])

    await journals.one.write([step(2)])

    assert await journals.held() == {"web-0": step(3)}


async def test_a_late_step_never_overwrites_a_newer_one_it_has_not_seen(
    journals: Journals,
) -> None:
    retained = replace(step(6), state=AddressState.RETAINED)
    await journals.two.write([retained])

    await journals.one.write([step(5)])

    assert await journals.held() == {"web-0": retained}


async def test_a_zombie_of_an_older_epoch_is_refused(journals: Journals) -> None:
    await journals.one.write([step(1)])
    newer = await journals.two.put_epoch(2, is_open=True, at=NOW, after=journals.epoch)
    journals.two.use_epoch(newer)
    before = await journals.held()

    with pytest.raises(EpochLost):
        await journals.one.write([step(2)])
    with pytest.raises(EpochLost):
        await journals.one.write([step(3, pod="web-1")])

    assert await journals.held() == before


async def test_a_zombie_is_refused_as_soon_as_the_next_epoch_is_claimed(
    journals: Journals,
) -> None:
    await journals.two.put_epoch(2, is_open=False, at=NOW, after=journals.epoch)

    with pytest.raises(EpochLost):
        await journals.one.write([step(1)])

    assert await journals.held() == {}


async def test_a_step_whose_writer_has_gone_on_to_the_next_epoch_is_refused_alone(
    journals: Journals,
) -> None:
    newer = await journals.one.put_epoch(2, is_open=True, at=NOW, after=journals.epoch)
    journals.one.use_epoch(newer)
    late, of_now = step(1), step(2, pod="web-1", epoch=2)

    refused, _ = await asyncio.gather(
        journals.one.write([late]), journals.one.write([of_now]), return_exceptions=True
    )

    assert isinstance(refused, EpochLost)
    assert "is of epoch 1, and epoch 2 is open" in str(refused)
    assert await journals.held() == {"web-1": of_now}


async def test_what_the_store_of_the_claim_holds_is_journaled_of_whatever_epoch(
    journals: Journals,
) -> None:
    claim = await journals.one.put_epoch(2, is_open=False, at=NOW, after=journals.epoch)
    journals.one.use_epoch(claim)

    await journals.one.settle([step(1)])

    assert await journals.held() == {"web-0": step(1)}


async def test_a_zombies_repeat_of_what_is_journaled_is_done(journals: Journals) -> None:
    await journals.one.write([step(1)])
    await journals.two.put_epoch(2, is_open=True, at=NOW, after=journals.epoch)

    await journals.one.write([step(1)])

    assert await journals.held() == {"web-0": step(1)}


async def test_an_epoch_is_claimed_once(journals: Journals) -> None:
    first = await journals.one.put_epoch(2, is_open=False, at=NOW, after=journals.epoch)
    second = await journals.two.put_epoch(2, is_open=False, at=NOW, after=journals.epoch)

    assert first is not None
    assert second is None
    assert await journals.two.epoch() == first


async def test_concurrent_steps_share_a_batch(journals: Journals) -> None:
    before = await journals.last_sequence()

    await asyncio.gather(*(journals.one.write([step(n, pod=f"web-{n}")]) for n in range(1, 33)))

    assert len(await journals.held()) == 32
    if not isinstance(journals.one, FoldingJournal):
        assert await journals.last_sequence() - before <= 2, "as many messages as pages"


async def test_one_overtaken_step_does_not_fail_those_beside_it(journals: Journals) -> None:
    await journals.one.write([step(1)])
    await journals.two.write([step(9)])

    await journals.one.write([step(2), step(3, pod="web-1"), step(4, pod="web-2")])

    assert await journals.held() == {
        "web-0": step(9),
        "web-1": step(3, pod="web-1"),
        "web-2": step(4, pod="web-2"),
    }


async def test_overtaken_steps_do_not_break_up_the_batch_they_are_in(
    journals: Journals,
) -> None:
    await journals.one.write([step(number, pod=f"web-{number}") for number in range(1, 33)])
    await journals.one.fold()
    await journals.two.write([step(100, pod=f"web-{number}") for number in range(1, 17)])
    await journals.two.fold()
    before = await journals.last_sequence()

    await journals.one.write([step(50, pod=f"web-{number}") for number in range(1, 33)])

    await journals.one.fold()

    # Sixteen were superseded; the others were folded as one batch: with the page before it,
    # the message that empties the page, and the one that checks the epoch.
    assert await journals.last_sequence() - before == 16 + 3


async def test_replicas_that_journal_the_same_steps_at_once_both_succeed(
    journals: Journals,
) -> None:
    steps = [step(number, pod=f"web-{number}") for number in range(1, 201)]

    await asyncio.gather(
        *(each.write([one]) for one in steps for each in (journals.one, journals.two))
    )

    assert await journals.held() == {one.identity.name: one for one in steps}


async def test_two_steps_of_one_identity_end_as_the_newer(journals: Journals) -> None:
    await asyncio.gather(*(journals.one.write([step(n)]) for n in (1, 2, 3)))

    assert await journals.held() == {"web-0": step(3)}


async def test_a_buried_lease_is_no_more(journals: Journals) -> None:
    await journals.one.write([step(1), step(2, pod="web-1")])

    await journals.one.bury(step(1))

    assert await journals.held() == {"web-1": step(2, pod="web-1")}


async def test_a_lease_is_buried_once_and_answered_the_same(journals: Journals) -> None:
    await journals.one.write([step(1)])
    await journals.one.bury(step(1))
    await journals.one.fold()
    before = await journals.message_of("web-0")

    await journals.two.bury(step(1))
    await journals.two.fold()

    assert await journals.message_of("web-0") == before


async def test_a_late_step_does_not_dig_a_lease_up(journals: Journals) -> None:
    await journals.one.write([step(1)])
    await journals.two.bury(step(1))

    await journals.one.write([step(1)])

    assert await journals.held() == {}


async def test_a_zombie_buries_nothing(journals: Journals) -> None:
    await journals.one.write([step(1)])
    await journals.two.put_epoch(2, is_open=True, at=NOW, after=journals.epoch)

    with pytest.raises(EpochLost):
        await journals.one.bury(step(1))

    assert await journals.held() == {"web-0": step(1)}


async def test_an_identity_gets_a_new_lease_after_its_tombstone(journals: Journals) -> None:
    await journals.one.write([step(1)])
    await journals.one.bury(step(1))

    await journals.two.write([step(2)])

    assert await journals.held() == {"web-0": step(2)}


async def test_a_tombstone_counts_towards_the_highest_generation(journals: Journals) -> None:
    await journals.one.write([step(7)])
    await journals.one.bury(step(7))

    assert await journals.one.highest() == generation(1, 7)


async def test_a_tombstone_ends_by_itself(journals: Journals) -> None:
    await journals.one.write([step(7)])
    await journals.one.bury(step(7))
    await journals.one.fold()

    stored = await journals.message_of("web-0")

    assert stored.headers is not None
    assert stored.headers["Nats-TTL"] == f"{TOMBSTONE_TTL_S}s"


async def test_the_highest_generation_is_known(journals: Journals) -> None:
    await journals.one.write([step(7), step(3, pod="web-1")])

    assert await journals.one.highest() == generation(1, 7)
