"""Leases of addresses that pods name: they begin on their way, and end if they cannot come."""

from __future__ import annotations

from datetime import timedelta

from services.allocator.domain.leases import (
    NOMINATION_KEPT,
    AcquireStatus,
    GiveUpStatus,
    Lease,
)
from shared.addresses import AddressState
from shared.ids import EniId
from shared.policies import LeasePolicy
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import ONE, TWO, Store, bound, due, moving, retained

WEB_0 = identity("web-0")
NAMED = "10.0.0.77"
AT_ONCE = timedelta(0)


async def on_its_way(store: Store, by: NodeVoice) -> Lease:
    step = await store.acquire(by.claim("web-0", nominated=NAMED))
    assert step.status is AcquireStatus.MUST_MOVE
    assert step.lease is not None
    return step.lease


async def test_a_nominated_address_begins_as_a_lease_that_moves_here_from_no_place(
    store: Store, one: NodeVoice
) -> None:
    lease = await on_its_way(store, one)

    assert (lease.identity, str(lease.address)) == (WEB_0, NAMED)
    assert (lease.state, lease.moving_to) == (AddressState.MOVING, ONE)
    assert (lease.node, lease.eni, lease.pod_uid) == (None, None, None)
    assert await store.unjournaled(10) == [lease], "journaled before any cloud call"


async def test_asked_again_it_is_the_same_lease_and_once_there_it_is_bound(
    store: Store, one: NodeVoice
) -> None:
    lease = await on_its_way(store, one)
    assert await on_its_way(store, one) == lease

    await store.arrive(WEB_0, lease.generation, ONE, EniId("eni-node-1"))
    step = await store.acquire(one.claim("web-0", nominated=NAMED))

    assert step.status is AcquireStatus.BOUND
    assert step.lease is not None
    assert (str(step.lease.address), step.lease.eni) == (NAMED, "eni-node-1")
    assert step.lease.expires_after is None, "from now on the pod's own word counts"


async def test_a_lease_that_is_there_wins(store: Store, one: NodeVoice) -> None:
    lease = await retained(store, one)

    step = await store.acquire(one.claim("web-0", nominated=NAMED, uid="uid-2"))

    assert step.status is AcquireStatus.BOUND
    assert step.lease is not None
    assert step.lease.address == lease.address


async def test_a_candidate_that_is_named_with_it_is_used_at_once(
    store: Store, one: NodeVoice
) -> None:
    step = await store.acquire(one.claim("web-0", nominated=NAMED, candidate=NAMED))

    assert step.status is AcquireStatus.BOUND


async def test_an_address_of_another_identity_is_refused_with_its_lease(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    holder = await bound(store, one, "web-1", NAMED)

    step = await store.acquire(two.claim("web-0", nominated=NAMED))

    assert (step.status, step.lease) == (AcquireStatus.NOMINATED_TAKEN, holder)
    assert await store.find(WEB_0) is None


async def test_of_two_that_name_one_address_the_first_has_it(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    first = await on_its_way(store, one)

    step = await store.acquire(two.claim("web-1", nominated=NAMED))

    assert (step.status, step.lease) == (AcquireStatus.NOMINATED_TAKEN, first)


async def test_what_was_refused_its_first_place_is_given_up_where_it_was_to_go(
    store: Store, one: NodeVoice
) -> None:
    lease = await on_its_way(store, one)

    asked = await store.give_up(WEB_0, lease.generation, force=True)
    step = await store.give_up(WEB_0, lease.generation, force=False, is_called_off=True)
    again = await store.give_up(WEB_0, lease.generation, force=False, is_called_off=True)

    assert asked.status is GiveUpStatus.MOVING, "a person does not end what is on its way"
    assert step.status is again.status is GiveUpStatus.EXPIRED
    assert step.lease == again.lease
    assert step.lease is not None
    assert (step.lease.node, step.lease.moving_to) == (ONE, None)
    assert await due(store, step.lease.since) == [WEB_0], "it is handed over like any other"


async def test_only_the_very_generation_that_was_refused_is_given_up(
    store: Store, one: NodeVoice
) -> None:
    lease = await on_its_way(store, one)
    await store.arrive(WEB_0, lease.generation, ONE, EniId("eni-node-1"))

    step = await store.give_up(WEB_0, lease.generation, force=False, is_called_off=True)

    assert step.status is GiveUpStatus.SUPERSEDED


async def test_a_lease_that_has_a_place_is_not_given_up_for_a_move_that_was_refused(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)

    step = await store.give_up(WEB_0, lease.generation, force=False, is_called_off=True)

    assert (step.status, step.lease) == (GiveUpStatus.MOVING, lease)
    assert lease.moving_to == TWO


async def test_an_address_whose_pod_never_comes_for_it_is_not_kept_for_ever(
    store: Store, one: NodeVoice
) -> None:
    lease = await on_its_way(store, one)
    arrived = await store.arrive(WEB_0, lease.generation, ONE, EniId("eni-node-1"))
    assert arrived.lease is not None

    assert arrived.lease.expires_at == arrived.lease.since + NOMINATION_KEPT


async def test_under_immediate_it_ends_with_its_pod_whatever_the_cluster_says(
    store: Store, one: NodeVoice
) -> None:
    step = await store.acquire(
        one.claim(
            "web-0",
            nominated=NAMED,
            candidate=NAMED,
            policy=LeasePolicy.IMMEDIATE,
            expires_after=AT_ONCE,
        )
    )
    assert step.lease is not None
    released = await store.retain(
        one.fence(),
        WEB_0,
        str(attachment("s1")),
        step.lease.generation,
        policy=LeasePolicy.CASCADE,
    )

    assert released.lease is not None
    assert released.lease.policy is LeasePolicy.IMMEDIATE
    assert released.lease.expires_at == released.lease.since


async def test_a_bind_under_immediate_changes_what_ends_a_lease_that_was_kept(
    store: Store, one: NodeVoice
) -> None:
    await retained(store, one)

    step = await store.acquire(
        one.claim("web-0", uid="uid-2", policy=LeasePolicy.IMMEDIATE, expires_after=AT_ONCE)
    )

    assert step.lease is not None
    assert step.lease.policy is LeasePolicy.IMMEDIATE
    back = await store.acquire(one.claim("web-0", uid="uid-2", sandbox="s2"))
    assert back.lease is not None
    assert back.lease.policy is LeasePolicy.NEVER
