"""What a person may do to a lease, in memory and on a real server."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.allocator.domain.leases import (
    GiveUpStatus,
    PolicyStatus,
    RetainStatus,
)
from shared.addresses import AddressState
from shared.ids import EniId, Generation
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import (
    SPAN,
    TWO,
    Store,
    bound,
    due,
    gone,
    moving,
)

TICK = timedelta(milliseconds=1)  # the store keeps moments to the millisecond


@pytest.mark.parametrize("force", [False, True])
async def test_a_person_may_end_a_retained_lease(
    store: Store, one: NodeVoice, force: bool
) -> None:
    lease = await gone(store, one, span=None)

    step = await store.give_up(lease.identity, lease.generation, force=force)
    again = await store.give_up(lease.identity, lease.generation, force=force)

    assert (step.status, step.is_journaled) == (GiveUpStatus.EXPIRED, False)
    assert step.lease is not None
    assert step.lease.state is AddressState.EXPIRED
    assert (again.status, again.lease) == (GiveUpStatus.EXPIRED, step.lease)
    assert await due(store, step.lease.since) == [lease.identity]


async def test_a_lease_that_a_pod_holds_is_given_up_only_by_force(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one)

    asked = await store.give_up(lease.identity, lease.generation, force=False)
    forced = await store.give_up(lease.identity, lease.generation, force=True)
    late = await store.retain(
        one.fence(), lease.identity, str(attachment("s1")), lease.generation
    )

    assert (asked.status, asked.lease) == (GiveUpStatus.IN_USE, lease)
    assert forced.status is GiveUpStatus.EXPIRED
    assert late.status is RetainStatus.SUPERSEDED


async def test_a_lease_on_its_way_is_not_given_up(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)

    step = await store.give_up(lease.identity, lease.generation, force=True)

    assert (step.status, step.lease) == (GiveUpStatus.MOVING, lease)


async def test_a_lease_that_has_changed_since_it_was_seen_is_left_alone(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)
    back = await store.acquire(one.claim("web-0", uid="uid-2", sandbox="s2"))

    step = await store.give_up(lease.identity, lease.generation, force=True)

    assert (step.status, step.lease) == (GiveUpStatus.SUPERSEDED, back.lease)


async def test_giving_up_what_is_not_there_says_so(store: Store) -> None:
    step = await store.give_up(identity("nobody"), Generation(1), force=True)

    assert (step.status, step.lease) == (GiveUpStatus.UNKNOWN, None)


async def test_a_retained_lease_is_kept_for_as_long_as_a_person_says(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)
    hour = timedelta(hours=1)

    step = await store.set_policy(lease.identity, hour)

    assert (step.status, step.is_journaled) == (PolicyStatus.SET, False)
    assert step.lease is not None
    assert step.lease.generation > lease.generation
    assert step.lease.expires_at == lease.since + hour
    assert await due(store, lease.since + hour - TICK) == []
    assert await due(store, lease.since + hour) == [lease.identity]


async def test_a_lease_may_be_kept_for_ever(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)

    await store.set_policy(lease.identity, None)

    assert await due(store, lease.since + timedelta(days=1)) == []


async def test_a_persons_word_is_kept_by_the_next_bind(store: Store, one: NodeVoice) -> None:
    lease = await gone(store, one)
    await store.set_policy(lease.identity, None)

    back = await store.acquire(
        one.claim("web-0", uid="uid-2", sandbox="s2", expires_after=SPAN)
    )

    assert back.lease is not None
    assert back.lease.expires_after is None


async def test_the_pod_that_holds_a_lease_releases_it_after_a_change_of_policy(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one)
    await store.set_policy(lease.identity, SPAN)
    await store.set_policy(lease.identity, 2 * SPAN)
    held = await store.acquire(one.claim("web-0"))

    ended = await store.retain(
        one.fence(), lease.identity, str(attachment("s1")), lease.generation
    )

    assert held.lease is not None
    assert held.lease.release_generation == lease.generation
    assert ended.status is RetainStatus.RETAINED
    assert ended.lease is not None
    assert ended.lease.expires_at == ended.lease.since + 2 * SPAN


async def test_a_restored_lease_is_released_by_the_bind_it_had(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one)
    step = await store.set_policy(lease.identity, SPAN)
    assert step.lease is not None
    await store.claim(2, empty=False)
    await store.restore(2, [step.lease])
    await store.open(2)
    store.use_epoch(2)
    await store.set_policy(lease.identity, 2 * SPAN)

    ended = await store.retain(
        one.fence(), lease.identity, str(attachment("s1")), lease.generation
    )

    assert ended.status is RetainStatus.RETAINED


async def test_a_policy_that_holds_already_changes_nothing(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)
    first = await store.set_policy(lease.identity, SPAN)

    again = await store.set_policy(lease.identity, SPAN)

    assert (again.status, again.lease) == (PolicyStatus.SET, first.lease)


async def test_a_lease_on_its_way_or_at_its_end_keeps_its_policy(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)
    on_its_way = await store.set_policy(lease.identity, SPAN)
    arrived = await store.arrive(lease.identity, lease.generation, TWO, EniId("eni-2"))
    assert arrived.lease is not None
    await store.give_up(lease.identity, arrived.lease.generation, force=False)

    at_its_end = await store.set_policy(lease.identity, SPAN)
    nobody = await store.set_policy(identity("nobody"), SPAN)

    assert [on_its_way.status, at_its_end.status, nobody.status] == [
        PolicyStatus.MOVING,
        PolicyStatus.EXPIRED,
        PolicyStatus.UNKNOWN,
    ]


@pytest.mark.parametrize("end", ["release", "force"])
async def test_what_a_release_must_name_goes_with_the_bind(
    store: Store, one: NodeVoice, end: str
) -> None:
    lease = await bound(store, one)
    changed = await store.set_policy(lease.identity, SPAN)
    assert changed.lease is not None

    if end == "release":
        await store.retain(one.fence(), lease.identity, str(attachment("s1")), lease.generation)
    else:
        await store.give_up(lease.identity, changed.lease.generation, force=True)

    ended = await store.find(lease.identity)
    assert ended is not None
    assert (changed.lease.bound_generation, ended.bound_generation) == (lease.generation, None)
