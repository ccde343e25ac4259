"""Leases whose address is an ENI's own: the kind is kept, and the ENI leaves its node."""

from __future__ import annotations

from datetime import timedelta

from services.allocator.domain.leases import (
    NOWHERE,
    AcquireStatus,
    ArriveStatus,
    ExpireStatus,
    Lease,
    ParkStatus,
)
from shared.addresses import AddressState
from shared.ids import EniId
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import RETRY, SPAN, TWO, Store, due, gone

WEB_0 = identity("web-0")


async def left(store: Store, by: NodeVoice, span: timedelta | None = None) -> Lease:
    """The lease of a pod with an ENI of its own that has just ended."""
    step = await store.acquire(
        by.claim("web-0", candidate="10.0.0.9", is_exclusive=True, expires_after=span)
    )
    assert step.lease is not None
    assert step.lease.is_exclusive
    released = await store.retain(
        by.fence(), WEB_0, str(attachment("s1")), step.lease.generation
    )
    assert released.lease is not None
    return released.lease


async def parked(store: Store, by: NodeVoice, span: timedelta | None = None) -> Lease:
    lease = await left(store, by, span)
    leaving = await store.park(WEB_0, lease.since)
    assert leaving.lease is not None
    step = await store.parked(WEB_0, leaving.lease.generation)
    assert step.lease is not None
    return step.lease


async def test_a_lease_keeps_its_kind_and_another_is_refused(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await left(store, one)

    as_shared = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))
    assert as_shared.status is AcquireStatus.OTHER_KIND
    assert as_shared.lease == lease
    shared = await gone(store, one, "web-1", "10.0.0.8")
    as_whole = await store.acquire(one.claim("web-1", is_exclusive=True))
    assert as_whole.status is AcquireStatus.OTHER_KIND
    assert as_whole.lease == shared


async def test_a_pod_that_comes_back_in_time_finds_its_eni_where_it_was(
    store: Store, one: NodeVoice
) -> None:
    lease = await left(store, one)

    step = await store.park(WEB_0, lease.since - timedelta(seconds=1))
    again = await store.acquire(
        one.claim("web-0", uid="uid-2", sandbox="s2", is_exclusive=True)
    )

    assert step.status is ParkStatus.KEPT
    assert again.status is AcquireStatus.BOUND
    assert again.lease is not None
    assert again.lease.eni == lease.eni
    assert (await store.park(WEB_0, lease.since + SPAN)).status is ParkStatus.KEPT


async def test_a_left_eni_is_due_at_once_and_a_shared_address_is_not(
    store: Store, one: NodeVoice
) -> None:
    lease = await left(store, one)
    await gone(store, one, "web-1", "10.0.0.8", span=None)

    assert await due(store, lease.since) == [WEB_0]


async def test_parking_moves_nowhere_and_keeps_the_moment_at_which_the_pod_went(
    store: Store, one: NodeVoice
) -> None:
    lease = await left(store, one, span=SPAN)

    step = await store.park(WEB_0, lease.since)
    again = await store.park(WEB_0, lease.since)

    assert step.status is again.status is ParkStatus.PARKING
    assert step.lease == again.lease
    assert step.lease is not None
    assert (step.lease.state, step.lease.moving_to) == (AddressState.MOVING, NOWHERE)
    assert (step.lease.node, step.lease.eni) == (lease.node, lease.eni)
    assert step.lease.generation > lease.generation
    assert await due(store, lease.since) == [WEB_0], "it is looked at until it is done"
    ended = await store.parked(WEB_0, step.lease.generation)
    assert ended.status is ArriveStatus.ARRIVED
    assert ended.lease is not None
    assert (ended.lease.state, ended.lease.node) == (AddressState.PARKED, None)
    assert (ended.lease.eni, ended.lease.since) == (lease.eni, lease.since)
    assert await due(store, lease.since) == []
    repeated = await store.parked(WEB_0, step.lease.generation)
    assert repeated.status is ArriveStatus.SUPERSEDED


async def test_an_eni_whose_pod_is_there_stays(store: Store, one: NodeVoice) -> None:
    step = await store.acquire(one.claim("web-0", candidate="10.0.0.9", is_exclusive=True))
    assert step.lease is not None

    asked = await store.park(WEB_0, step.lease.since + SPAN)

    assert (asked.status, asked.lease) == (ParkStatus.KEPT, step.lease)


async def test_an_older_parking_parks_nothing(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await left(store, one)
    older = await store.park(WEB_0, lease.since)
    assert older.lease is not None
    await store.parked(WEB_0, older.lease.generation)
    moving = await store.acquire(
        two.claim("web-0", uid="uid-2", sandbox="s2", is_exclusive=True)
    )

    late = await store.parked(WEB_0, older.lease.generation)

    assert (late.status, late.lease) == (ArriveStatus.SUPERSEDED, moving.lease)


async def test_while_its_eni_leaves_a_pod_waits_wherever_it_is(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await left(store, one)
    await store.park(WEB_0, lease.since)

    for voice in (one, two):
        step = await store.acquire(
            voice.claim("web-0", uid="uid-2", sandbox="s2", is_exclusive=True)
        )
        assert step.status is AcquireStatus.MOVING


async def test_a_parked_lease_moves_to_the_node_that_asks(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await parked(store, one)

    step = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2", is_exclusive=True))
    assert step.status is AcquireStatus.MUST_MOVE
    assert step.lease is not None
    assert lease.eni is not None
    arrived = await store.arrive(WEB_0, step.lease.generation, TWO, EniId(lease.eni))
    bound = await store.acquire(
        two.claim("web-0", uid="uid-2", sandbox="s2", is_exclusive=True)
    )

    assert arrived.status is ArriveStatus.ARRIVED
    assert bound.status is AcquireStatus.BOUND
    assert bound.lease is not None
    assert (bound.lease.address, bound.lease.node) == (lease.address, TWO)


async def test_a_move_that_was_called_off_is_parked_again(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    await parked(store, one)
    step = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2", is_exclusive=True))
    assert step.lease is not None

    off = await store.parked(WEB_0, step.lease.generation)

    assert off.status is ArriveStatus.ARRIVED
    elsewhere = await store.acquire(
        one.claim("web-0", uid="uid-2", sandbox="s2", is_exclusive=True)
    )
    assert elsewhere.status is AcquireStatus.MUST_MOVE


async def test_a_parked_lease_ends_when_its_span_is_over(store: Store, one: NodeVoice) -> None:
    lease = await parked(store, one, span=SPAN)

    early = await store.expire(WEB_0, lease.since + SPAN - RETRY)
    taken = await due(store, lease.since + SPAN)
    step = await store.expire(WEB_0, lease.since + SPAN)

    assert early.status is ExpireStatus.KEPT
    assert taken == [WEB_0]
    assert step.status is ExpireStatus.EXPIRED
    assert step.lease is not None
    assert (step.lease.node, step.lease.eni) == (None, lease.eni)


async def test_an_address_that_shares_its_eni_leaves_only_when_it_is_asked_to(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await gone(store, one, "web-0", "10.0.0.8", span=SPAN)

    step = await store.park(WEB_0, lease.since)

    assert step.status is ParkStatus.PARKING
    assert step.lease is not None
    assert await due(store, lease.since) == [WEB_0], "it is looked at until it is done"
    ended = await store.parked(WEB_0, step.lease.generation)
    assert ended.lease is not None
    assert (ended.lease.state, ended.lease.since) == (AddressState.PARKED, lease.since)
    asked = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))
    assert asked.status is AcquireStatus.MUST_MOVE


async def test_what_could_not_leave_is_retained_where_it_was_since_when_it_was(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one, "web-0", "10.0.0.8", span=SPAN)
    step = await store.park(WEB_0, lease.since)
    assert step.lease is not None
    assert lease.node is not None
    assert lease.eni is not None

    back = await store.arrive(WEB_0, step.lease.generation, lease.node, lease.eni)

    assert back.lease is not None
    assert (back.lease.state, back.lease.node) == (AddressState.RETAINED, lease.node)
    assert (back.lease.eni, back.lease.since) == (lease.eni, lease.since)
