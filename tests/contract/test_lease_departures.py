"""A node is gone for ever: its agent is heard no more, what was on it lives on elsewhere."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from services.allocator.domain.leases import (
    AcquireStatus,
    ArriveStatus,
    RetainStatus,
    VacateStatus,
)
from services.allocator.domain.ports import ReportedView
from shared.addresses import AddressState
from shared.errors import Stale
from shared.ids import EniId, Generation, NodeName
from shared.policies import LeasePolicy
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import (
    ONE,
    SPAN,
    Store,
    bound,
    due,
    gone,
    moving,
    retained,
    voice,
)


async def test_a_node_that_is_gone_is_heard_no_more_and_its_reports_are_forgotten(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    view = ReportedView(address=IPv4Address("10.0.0.7"), body="{}")
    for each in (one, two):
        await store.report(each.fence(), [view], [], is_whole=True)
    late = one.claim("web-0", candidate="10.0.0.9")

    await store.leave(ONE)
    await store.leave(ONE)

    with pytest.raises(Stale, match="incarnation 1"):
        await store.acquire(late)
    assert await store.reported(ONE) == []
    assert await store.reported(two.node) == [view]


async def test_a_node_that_lives_after_all_begins_another_life(
    store: Store, one: NodeVoice
) -> None:
    await store.leave(ONE)

    again = await voice(store, ONE, nonce="again", last=one.incarnation)

    step = await store.acquire(again.claim("web-0", candidate="10.0.0.9"))
    assert step.status is AcquireStatus.BOUND
    assert again.incarnation == 3


async def test_a_node_that_never_spoke_leaves_nothing_behind(store: Store) -> None:
    await store.leave(ONE)

    assert await store.nodes() == []
    assert (await voice(store, ONE)).incarnation == 1


async def test_a_bound_lease_is_parked_and_moves_on_to_its_next_pod(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    held = await bound(store, one)

    step = await store.vacate(held.identity, held.generation, ONE)
    again = await store.vacate(held.identity, held.generation, ONE)
    late = await store.retain(
        one.fence(), held.identity, str(attachment("s1")), held.generation
    )

    assert (step.status, step.is_journaled) == (VacateStatus.PARKED, False)
    assert step.lease is not None
    assert (step.lease.state, step.lease.node) == (AddressState.PARKED, None)
    assert step.lease.eni == held.eni, "where it is held"
    assert step.lease.generation > held.generation
    assert (again.status, again.lease) == (VacateStatus.SUPERSEDED, step.lease)
    assert (late.status, late.lease) == (RetainStatus.SUPERSEDED, step.lease)
    comes = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))
    assert comes.status is AcquireStatus.MUST_MOVE
    assert comes.lease is not None
    assert (comes.lease.address, comes.lease.moving_to) == (held.address, two.node)


async def test_the_span_of_a_lease_counts_from_when_its_pod_went(
    store: Store, one: NodeVoice
) -> None:
    lease = await gone(store, one)

    step = await store.vacate(lease.identity, lease.generation, ONE)

    assert step.lease is not None
    assert step.lease.since == lease.since
    assert step.lease.expires_at == lease.since + SPAN
    assert await due(store, lease.since + SPAN) == [lease.identity]


async def test_a_pod_that_was_there_until_now_has_gone_now(
    store: Store, one: NodeVoice
) -> None:
    held = (
        await store.acquire(one.claim("web-0", candidate="10.0.0.9", expires_after=SPAN))
    ).lease
    assert held is not None
    before = await store.now()

    step = await store.vacate(held.identity, held.generation, ONE)

    assert step.lease is not None
    assert step.lease.expires_at is not None
    assert step.lease.expires_at >= before + SPAN - timedelta(milliseconds=1)


async def test_the_clusters_policy_no_longer_changes_for_a_pod_that_went_before(
    store: Store, one: NodeVoice
) -> None:
    lease = await retained(store, one)

    step = await store.vacate(lease.identity, lease.generation, ONE, policy=LeasePolicy.CASCADE)

    assert step.lease is not None
    assert step.lease.policy is LeasePolicy.NEVER


async def test_a_lease_of_another_node_stays(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    held = await retained(store, two)

    step = await store.vacate(held.identity, held.generation, ONE)

    assert (step.status, step.lease) == (VacateStatus.SUPERSEDED, held)


async def test_a_lease_that_has_changed_since_it_was_seen_stays(
    store: Store, one: NodeVoice
) -> None:
    held = await bound(store, one)
    newer = await store.acquire(one.claim("web-0", sandbox="s2"))

    step = await store.vacate(held.identity, held.generation, ONE)

    assert (step.status, step.lease) == (VacateStatus.SUPERSEDED, newer.lease)


async def test_a_lease_on_its_way_elsewhere_stays(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)

    step = await store.vacate(lease.identity, lease.generation, ONE)

    assert (step.status, step.lease) == (VacateStatus.SUPERSEDED, lease)


async def test_nothing_leaves_where_there_is_no_lease(store: Store) -> None:
    step = await store.vacate(identity("web-0"), Generation(1), ONE)

    assert (step.status, step.lease) == (VacateStatus.UNKNOWN, None)


async def test_a_move_that_is_called_off_brings_nothing_back_to_a_node_that_is_gone(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)
    assert lease.eni is not None

    await store.leave(ONE)
    step = await store.arrive(lease.identity, lease.generation, ONE, lease.eni)

    assert step.status is ArriveStatus.ARRIVED
    assert step.lease is not None
    assert (step.lease.state, step.lease.node) == (AddressState.PARKED, None)
    assert (step.lease.eni, step.lease.moving_to) == (lease.eni, None)
    assert await store.unjournaled(9) == [step.lease]
    assert (await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))).status is (
        AcquireStatus.MUST_MOVE
    )


async def test_nothing_comes_to_a_node_that_is_gone_and_never_spoke(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)

    await store.leave(NodeName("silent"))
    step = await store.arrive(
        lease.identity, lease.generation, NodeName("silent"), EniId("eni-9")
    )

    assert step.lease is not None
    assert (step.lease.state, step.lease.node) == (AddressState.PARKED, None)


async def test_a_lease_comes_to_a_node_that_lives_after_all(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)
    assert lease.eni is not None

    await store.leave(ONE)
    await voice(store, ONE, nonce="again", last=one.incarnation)
    step = await store.arrive(lease.identity, lease.generation, ONE, lease.eni)

    assert step.lease is not None
    assert (step.lease.state, step.lease.node) == (AddressState.RETAINED, ONE)


async def test_the_clusters_policy_applies_from_when_the_pod_went(
    store: Store, one: NodeVoice
) -> None:
    held = await bound(store, one)
    kept = await bound(store, one, "web-1", "10.0.0.10")
    await store.set_policy(kept.identity, None, policy=LeasePolicy.NEVER)
    said = await store.find(kept.identity)
    assert said is not None

    one_step = await store.vacate(
        held.identity, held.generation, ONE, policy=LeasePolicy.CASCADE
    )
    two_step = await store.vacate(
        said.identity, said.generation, ONE, policy=LeasePolicy.CASCADE
    )

    assert one_step.lease is not None
    assert two_step.lease is not None
    assert one_step.lease.policy is LeasePolicy.CASCADE
    assert two_step.lease.policy is LeasePolicy.NEVER, "a person's word for it counts"
