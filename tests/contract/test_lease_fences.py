"""Whom a store of leases does not hear: late agents, older epochs, overtaken recoveries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.domain.leases import AcquireStatus, Lease, RetainStatus
from services.allocator.domain.ports import ReportedView
from shared.errors import EpochLost, NotRegistered, Stale
from shared.ids import EniId, Incarnation, generation
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import (
    ONE,
    Store,
    bound,
    opened,
    reconnected,
    voice,
)

Step = Callable[[Store, NodeVoice, Lease], Awaitable[object]]
NOW = datetime(2030, 1, 1, tzinfo=UTC)
# What each asks of a lease that is bound; of an older epoch none may change it.
STEPS: dict[str, Step] = {
    "acquire": lambda store, by, it: store.acquire(by.claim("web-0", sandbox="s2")),
    "arrive": lambda store, by, it: store.arrive(
        it.identity, it.generation, by.node, EniId("eni-b")
    ),
    "expire": lambda store, by, it: store.expire(it.identity, NOW),
    "forget": lambda store, by, it: store.forget(it.identity, it.generation),
    "give_up": lambda store, by, it: store.give_up(it.identity, it.generation, force=True),
    "leave": lambda store, by, it: store.leave(ONE),
    "park": lambda store, by, it: store.park(it.identity, NOW),
    "parked": lambda store, by, it: store.parked(it.identity, it.generation),
    "put_back": lambda store, by, it: store.put_back(it, replace=True, is_trial=False),
    "register": lambda store, by, it: store.register(ONE, last=Incarnation(1), nonce="b"),
    "report": lambda store, by, it: store.report(by.fence(), [], [], is_whole=True),
    "retain": lambda store, by, it: store.retain(
        by.fence(), it.identity, str(attachment("s1")), it.generation
    ),
    "set_policy": lambda store, by, it: store.set_policy(it.identity, None),
    "take_begun": lambda store, by, it: store.take_begun(
        NOW, limit=1, retry=timedelta(0), rank=0
    ),
    "take_due": lambda store, by, it: store.take_due(
        NOW, limit=1, retry=timedelta(0), look=timedelta(0)
    ),
    "take_over": lambda store, by, it: store.take_over(
        it.identity, it.generation, NodeVoice("node-9", Incarnation(1)).claim("web-0")
    ),
    "vacate": lambda store, by, it: store.vacate(it.identity, it.generation, by.node),
}


async def test_a_second_start_with_the_nonce_is_the_same_start(store: Store) -> None:
    first = await store.register(ONE, last=Incarnation(0), nonce="a")
    repeated = await store.register(ONE, last=Incarnation(0), nonce="a")
    next_life = await store.register(ONE, last=Incarnation(0), nonce="b")
    ahead = await store.register(ONE, last=Incarnation(7), nonce="c")

    assert [first, repeated, next_life, ahead] == [1, 1, 2, 8]
    assert await store.nodes() == [ONE]


async def test_an_earlier_life_is_refused(store: Store, one: NodeVoice) -> None:
    await voice(store, ONE, nonce="again")

    with pytest.raises(Stale, match="incarnation 1"):
        await store.acquire(one.claim("web-0", candidate="10.0.0.9"))

    assert await store.find(identity("web-0")) is None


async def test_a_life_that_never_registered_is_told_to(store: Store) -> None:
    stranger = NodeVoice(ONE, Incarnation(1))

    with pytest.raises(NotRegistered):
        await store.acquire(stranger.claim("web-0", candidate="10.0.0.9"))


async def test_what_lies_below_the_mark_is_refused(store: Store, one: NodeVoice) -> None:
    late = one.claim("web-0", candidate="10.0.0.9")
    await store.acquire(one.claim("web-1"))

    with pytest.raises(Stale, match="sequence 1"):
        await store.acquire(late)


async def test_what_is_unsettled_is_heard_out_of_order(store: Store, one: NodeVoice) -> None:
    late = one.claim("web-0", candidate="10.0.0.9")
    await store.acquire(one.claim("web-1", fence=one.fence(lowest_unsettled=1)))

    step = await store.acquire(late)

    assert step.status is AcquireStatus.BOUND


async def test_the_mark_stops_below_what_is_unsettled(store: Store, one: NodeVoice) -> None:
    settled, unsettled = one.fence(), one.fence()
    await store.acquire(
        one.claim("web-1", fence=one.fence(lowest_unsettled=unsettled.sequence))
    )

    with pytest.raises(Stale):
        await store.acquire(one.claim("web-0", candidate="10.0.0.9", fence=settled))
    step = await store.acquire(one.claim("web-0", candidate="10.0.0.9", fence=unsettled))

    assert step.status is AcquireStatus.BOUND


@pytest.mark.parametrize("late", ["below the mark", "of an earlier life"])
async def test_a_late_release_is_refused(store: Store, one: NodeVoice, late: str) -> None:
    lease = await bound(store, one)
    fence = one.fence()
    if late == "below the mark":
        await store.acquire(one.claim("web-1"))
    else:
        await voice(store, ONE, nonce="again")

    with pytest.raises(Stale):
        await store.retain(fence, lease.identity, str(attachment("s1")), lease.generation)

    assert await store.find(lease.identity) == lease


async def test_a_late_copy_of_a_question_is_dead_once_its_attachment_was_released(
    store: Store, one: NodeVoice
) -> None:
    """Another pod's question, still unsettled, keeps the mark below both."""
    unsettled = one.fence()
    asked = one.claim(
        "web-0",
        candidate="10.0.0.9",
        fence=one.fence(lowest_unsettled=unsettled.sequence),
    )
    lease = (await store.acquire(asked)).lease
    assert lease is not None
    release = one.fence(lowest_unsettled=unsettled.sequence)
    await store.retain(release, lease.identity, str(asked.attachment), lease.generation)

    with pytest.raises(Stale):
        await store.acquire(asked)
    again = one.fence(lowest_unsettled=unsettled.sequence)
    back = await store.acquire(replace(asked, fence=again))
    other = await store.acquire(
        one.claim("web-1", candidate="10.0.0.8", sandbox="s2", fence=unsettled)
    )

    assert back.status is AcquireStatus.BOUND
    assert other.status is AcquireStatus.BOUND


async def test_a_new_life_is_not_bound_by_what_the_last_one_released(
    store: Store, one: NodeVoice
) -> None:
    for _ in range(3):  # far along
        one.fence()
    lease = await bound(store, one)
    await store.retain(
        one.fence(lowest_unsettled=1), lease.identity, str(attachment("s1")), lease.generation
    )
    next_life = await voice(store, ONE, nonce="again")

    step = await store.acquire(next_life.claim("web-0"))

    assert step.status is AcquireStatus.BOUND


async def test_a_release_that_overtakes_its_acquire_ends_nothing(
    store: Store, one: NodeVoice
) -> None:
    claim = one.claim("web-0", candidate="10.0.0.9", fence=one.fence(lowest_unsettled=1))

    early = await store.retain(
        one.fence(lowest_unsettled=1), claim.identity, str(claim.attachment), generation(1, 1)
    )
    step = await store.acquire(claim)

    assert early.status is RetainStatus.UNKNOWN
    assert step.status is AcquireStatus.BOUND


@pytest.mark.parametrize("name", sorted(STEPS))
async def test_no_step_of_an_older_epoch_is_heard(
    store: Store, one: NodeVoice, name: str
) -> None:
    lease = await bound(store, one)
    await opened(store, 2)
    store.use_epoch(1)

    with pytest.raises(EpochLost):
        await STEPS[name](store, one, lease)

    assert await store.find(lease.identity) == lease


async def test_the_newest_report_of_an_address_counts(store: Store, one: NodeVoice) -> None:
    nine, ten = IPv4Address("10.0.0.9"), IPv4Address("10.0.0.10")
    late = one.fence(lowest_unsettled=1)
    views = [ReportedView(address=nine, body="{}"), ReportedView(address=ten, body="{}")]

    await store.report(one.fence(lowest_unsettled=1), views, [], is_whole=True)
    await store.report(one.fence(lowest_unsettled=1), [], [nine], is_whole=False)
    with pytest.raises(Stale):
        await store.report(late, views, [], is_whole=True)

    assert [view.address for view in await store.reported(ONE)] == [ten]


async def test_a_whole_report_is_all_there_is(store: Store, one: NodeVoice) -> None:
    nine, ten = IPv4Address("10.0.0.9"), IPv4Address("10.0.0.10")

    await store.report(one.fence(), [ReportedView(address=nine, body="{}")], [], is_whole=True)
    await store.report(one.fence(), [ReportedView(address=ten, body="{}")], [], is_whole=True)

    assert [view.address for view in await store.reported(ONE)] == [ten]


async def test_a_report_tells_which_candidates_have_become_leases(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one)
    other = IPv4Address("10.0.0.10")

    told = await store.report(one.fence(), [], [other], [lease.address, other], is_whole=False)

    assert told == [lease.address]


async def test_a_report_of_an_earlier_life_changes_nothing(
    store: Store, one: NodeVoice
) -> None:
    late = one.fence()
    await voice(store, ONE, nonce="again")

    with pytest.raises(Stale):
        await store.report(
            late, [ReportedView(address=IPv4Address("10.0.0.9"), body="{}")], [], is_whole=True
        )

    assert await store.reported(ONE) == []


async def test_no_step_is_heard_before_an_epoch_is_open(closed: Store) -> None:
    with pytest.raises(EpochLost):
        await closed.register(ONE, last=Incarnation(0), nonce="a")


async def test_an_allocator_of_an_older_epoch_is_refused(store: Store, one: NodeVoice) -> None:
    await opened(store, 2)
    store.use_epoch(1)

    with pytest.raises(EpochLost):
        await store.acquire(one.claim("web-0", candidate="10.0.0.9"))

    assert await store.find(identity("web-0")) is None


async def restarted(store: Store, request: pytest.FixtureRequest) -> None:
    if isinstance(store, MemoryLeases):
        store.restart()
    else:
        await request.getfixturevalue("redis_server").restart()
        await reconnected(store)


async def test_a_recovery_ends_on_no_other_server_than_it_claimed(
    store: Store, one: NodeVoice, request: pytest.FixtureRequest
) -> None:
    """That other one may be a replica, or an older state, without what was restored."""
    lease = await bound(store, one)
    assert await store.claim(2, empty=True)
    assert await store.restore(2, [lease])

    await restarted(store, request)

    assert not await store.restore(2, [lease])
    assert not await store.open(2)
    assert await store.claim(2, empty=True)
    assert await store.restore(2, [lease])
    assert await store.open(2)


async def test_a_restarted_server_is_not_the_one_the_epoch_was_opened_on(
    store: Store, one: NodeVoice, request: pytest.FixtureRequest
) -> None:
    lease = await bound(store, one)

    await restarted(store, request)

    with pytest.raises(EpochLost):
        await store.acquire(one.claim("web-0"))
    assert await store.find(lease.identity) == lease
    assert not (await store.epoch()).is_same_server


async def test_a_new_epoch_beats_every_generation_before(store: Store, one: NodeVoice) -> None:
    before = await bound(store, one, "web-0", "10.0.0.9")

    await opened(store, 2)
    after = await bound(store, one, "web-1", "10.0.0.10")

    assert after.generation > before.generation
    assert after.generation == generation(2, 1)


async def test_an_overtaken_recovery_writes_nothing(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one)
    await store.claim(3, empty=True)

    assert not await store.claim(2, empty=True)
    assert not await store.restore(2, [lease])
    assert not await store.open(2)
    assert await store.find(lease.identity) is None


async def test_what_a_rebuild_restores_is_as_it_was(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one)

    await store.claim(2, empty=True)
    await store.restore(2, [lease])
    await store.open(2)
    store.use_epoch(2)

    assert await store.find(lease.identity) == lease
    again = await voice(store, ONE, nonce="again", last=one.incarnation)
    taken = await store.acquire(again.claim("web-1", candidate=str(lease.address)))
    assert taken.status is AcquireStatus.CANDIDATE_TAKEN


async def test_a_rebuilt_store_hears_nobody_who_has_not_registered_again(
    store: Store, one: NodeVoice
) -> None:
    await opened(store, 2, empty=True)

    with pytest.raises(NotRegistered):
        await store.acquire(one.claim("web-0", candidate="10.0.0.9"))
