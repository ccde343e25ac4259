"""How a lease that its pod does not come back for ends, in memory and on a real server."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.allocator.domain.leases import (
    NOWHERE,
    AcquireStatus,
    ExpireStatus,
    ForgetStatus,
    RetainStatus,
)
from shared.addresses import AddressState
from shared.errors import EpochLost
from shared.ids import EniId, Generation
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import (
    ONE,
    RETRY,
    SPAN,
    TWO,
    Store,
    due,
    expired,
    gone,
)

TICK = timedelta(milliseconds=1)  # the store keeps moments to the millisecond


async def test_the_stores_clock_is_the_one_that_leases_are_dated_by(
    store: Store, one: NodeVoice
) -> None:
    before = await store.now()
    lease = await gone(store, one)

    assert before - TICK <= lease.since <= await store.now()


async def test_a_retained_lease_is_due_once_its_pod_was_away_for_its_span(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)

    early = await due(store, lease.since + SPAN - TICK)
    late = await due(store, lease.since + SPAN)

    assert (early, late) == ([], [lease.identity])
    assert lease.expires_at == lease.since + SPAN


async def test_a_lease_without_a_span_is_never_due(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one, span=None)

    assert await due(store, lease.since + timedelta(days=10_000)) == []
    assert lease.expires_at is None


async def test_a_lease_that_a_pod_holds_is_never_due(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)
    await store.acquire(one.claim("web-0", uid="uid-2", sandbox="s2", expires_after=SPAN))

    assert await due(store, lease.since + timedelta(days=10)) == []


async def test_a_lease_on_its_way_to_a_pod_is_not_due(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await gone(store, one)
    step = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))

    expired = await store.expire(lease.identity, lease.since + 2 * SPAN)

    assert step.status is AcquireStatus.MUST_MOVE
    assert expired.status is ExpireStatus.KEPT
    assert await due(store, lease.since + 2 * SPAN) == []


async def test_a_lease_that_arrived_is_kept_for_its_whole_span_again(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await gone(store, one)
    step = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))
    assert step.lease is not None
    there = await store.arrive(lease.identity, step.lease.generation, TWO, EniId("eni-2"))
    assert there.lease is not None

    assert there.lease.expires_at == there.lease.since + SPAN
    assert await due(store, there.lease.since + SPAN - TICK) == []
    assert await due(store, there.lease.since + SPAN) == [lease.identity]


async def test_who_took_a_due_lease_has_it_for_a_while(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)
    by = lease.since + SPAN

    taken = [await due(store, by), await due(store, by), await due(store, by + RETRY)]

    assert taken == [[lease.identity], [], [lease.identity]]


async def test_the_oldest_are_taken_first_and_no_more_than_asked_for(
    store: Store, one: NodeVoice
) -> None:
    leases = [
        await gone(store, one, f"web-{n}", f"10.0.0.{10 + n}", SPAN + n * timedelta(minutes=1))
        for n in range(3)
    ]
    by = leases[-1].since + 2 * SPAN

    batches = [await due(store, by, limit=2), await due(store, by, limit=2)]

    assert batches == [
        [leases[0].identity, leases[1].identity],
        [leases[2].identity],
    ]


async def test_an_expired_lease_is_a_new_step_that_owes_the_journal(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)
    await store.journaled([lease])

    step = await store.expire(lease.identity, lease.since + SPAN)

    assert (step.status, step.is_journaled) == (ExpireStatus.EXPIRED, False)
    assert step.lease is not None
    assert step.lease.state is AddressState.EXPIRED
    assert step.lease.generation > lease.generation
    assert (step.lease.address, step.lease.node, step.lease.eni) == (
        lease.address,
        lease.node,
        lease.eni,
    )
    assert [each.identity for each in await store.unjournaled(10)] == [lease.identity]


async def test_a_lease_expires_once(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)

    first = await store.expire(lease.identity, lease.since + SPAN)
    again = await store.expire(lease.identity, lease.since + SPAN)

    assert (again.status, again.lease) == (ExpireStatus.EXPIRED, first.lease)


async def test_a_lease_does_not_expire_a_moment_early(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)

    step = await store.expire(lease.identity, lease.since + SPAN - TICK)

    assert (step.status, step.lease) == (ExpireStatus.KEPT, lease)
    assert await store.find(lease.identity) == lease


async def test_a_pod_that_came_back_first_keeps_its_lease(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)
    back = await store.acquire(
        one.claim("web-0", uid="uid-2", sandbox="s2", expires_after=SPAN)
    )

    step = await store.expire(lease.identity, lease.since + SPAN)

    assert (step.status, step.lease) == (ExpireStatus.KEPT, back.lease)


async def test_expiring_what_is_not_there_says_so(store: Store) -> None:
    step = await store.expire(identity("nobody"), await store.now())

    assert (step.status, step.lease) == (ExpireStatus.UNKNOWN, None)


async def test_nobody_gets_an_expired_lease(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await gone(store, one)
    await store.expire(lease.identity, lease.since + SPAN)

    same = await store.acquire(one.claim("web-0", uid="uid-2", sandbox="s2"))
    elsewhere = await store.acquire(two.claim("web-0", uid="uid-3", sandbox="s3"))
    other = await store.acquire(one.claim("web-1", candidate=str(lease.address)))

    assert [same.status, elsewhere.status, other.status] == [
        AcquireStatus.EXPIRING,
        AcquireStatus.EXPIRING,
        AcquireStatus.CANDIDATE_TAKEN,
    ]


async def test_a_late_release_does_not_bring_an_expired_lease_back(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)
    expired = await store.expire(lease.identity, lease.since + SPAN)

    late = await store.retain(
        one.fence(), lease.identity, str(attachment("s1")), lease.generation
    )

    assert late.status is RetainStatus.SUPERSEDED
    assert await store.find(lease.identity) == expired.lease


async def test_an_expired_lease_is_due_at_once_to_be_handed_over(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)
    by = lease.since + SPAN
    await store.take_due(by, limit=1, retry=RETRY, look=RETRY)
    await store.expire(lease.identity, by)

    [found] = await store.take_due(by, limit=1, retry=RETRY, look=RETRY)

    assert (found.identity, found.state) == (lease.identity, AddressState.EXPIRED)


async def test_what_has_ended_is_found_behind_what_only_would_by_the_clock(
    store: Store, one: NodeVoice
) -> None:
    kept = [await gone(store, one, f"web-{n}", f"10.0.0.{n}") for n in range(3)]
    ended = await gone(store, one, "web-9", "10.0.0.9")
    await store.give_up(ended.identity, ended.generation, force=False)
    by = await store.now() + SPAN

    at_once, _ = await store.take_begun(by, limit=9, retry=RETRY, rank=0)
    found, rank = [], 0
    for _ in range(3):
        taken, rank = await store.take_begun(by + RETRY, limit=2, retry=RETRY, rank=rank)
        found.append([each.identity for each in taken])

    assert [(each.identity, each.state) for each in at_once] == [
        (ended.identity, AddressState.EXPIRED)
    ]
    assert (found, rank) == ([[], [ended.identity], []], 0)
    assert await due(store, by + RETRY) == [each.identity for each in kept], "left as they were"


async def test_what_is_to_leave_its_node_has_begun_too(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)
    await store.park(lease.identity, lease.since)

    taken, _ = await store.take_begun(await store.now(), limit=9, retry=RETRY, rank=0)

    assert [(each.identity, each.moving_to) for each in taken] == [(lease.identity, NOWHERE)]


@pytest.mark.parametrize("is_expired", [False, True])
async def test_a_rebuilt_store_knows_what_is_due(
    store: Store, one: NodeVoice, is_expired: bool
) -> None:
    lease = await gone(store, one)
    if is_expired:
        step = await store.expire(lease.identity, lease.since + SPAN)
        assert step.lease is not None
        lease = step.lease

    await store.claim(2, empty=True)
    await store.restore(2, [lease])
    await store.open(2)
    store.use_epoch(2)

    assert await store.take_due(lease.since + SPAN, limit=9, retry=RETRY, look=RETRY) == [lease]


async def test_an_allocator_of_an_older_epoch_ends_nothing(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)
    await store.claim(2, empty=False)
    await store.open(2)

    with pytest.raises(EpochLost):
        await store.take_due(lease.since + SPAN, limit=1, retry=RETRY, look=RETRY)
    with pytest.raises(EpochLost):
        await store.expire(lease.identity, lease.since + SPAN)

    assert await store.find(lease.identity) == lease
    assert lease.node == ONE


async def test_a_forgotten_lease_leaves_nothing(store: Store, one: NodeVoice) -> None:
    lease = await expired(store, one)

    status = await store.forget(lease.identity, lease.generation)

    assert status is ForgetStatus.FORGOTTEN
    assert await store.find(lease.identity) is None
    assert await store.unjournaled(10) == []
    assert await due(store, lease.since + timedelta(days=1)) == []


async def test_a_lease_is_forgotten_once(store: Store, one: NodeVoice) -> None:
    lease = await expired(store, one)
    await store.forget(lease.identity, lease.generation)

    assert await store.forget(lease.identity, lease.generation) is ForgetStatus.UNKNOWN


async def test_a_forgotten_leases_address_may_be_another_identitys(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await expired(store, one)
    await store.forget(lease.identity, lease.generation)

    step = await store.acquire(two.claim("web-1", candidate=str(lease.address)))

    assert step.status is AcquireStatus.BOUND


async def test_an_identity_whose_lease_was_forgotten_gets_a_new_one(
    store: Store, one: NodeVoice
) -> None:
    lease = await expired(store, one)
    await store.forget(lease.identity, lease.generation)

    step = await store.acquire(one.claim("web-0", candidate="10.0.0.10", uid="uid-2"))

    assert step.status is AcquireStatus.BOUND
    assert step.lease is not None
    assert str(step.lease.address) == "10.0.0.10"
    assert step.lease.generation > lease.generation
    assert await store.forget(lease.identity, lease.generation) is ForgetStatus.SUPERSEDED


async def test_only_an_expired_lease_is_forgotten(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)

    status = await store.forget(lease.identity, lease.generation)

    assert status is ForgetStatus.SUPERSEDED
    assert await store.find(lease.identity) == lease


async def test_a_lease_expired_in_another_generation_is_not_forgotten(
    store: Store, one: NodeVoice
) -> None:
    lease = await expired(store, one)

    status = await store.forget(lease.identity, Generation(lease.generation - 1))

    assert status is ForgetStatus.SUPERSEDED
    assert await store.find(lease.identity) == lease
