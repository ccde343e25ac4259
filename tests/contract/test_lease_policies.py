"""What ends a lease once its pod went, and who takes over from a pod that cannot say so."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.allocator.domain.leases import Lease, PolicyStatus, RetainStatus, TakeOverStatus
from shared.addresses import AddressState
from shared.ids import Generation, WorkloadName
from shared.policies import LeasePolicy
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import RETRY, SPAN, Store, bound, due, retained, voice

LOOK = timedelta(seconds=30)
WEB = WorkloadName("default", "Deployment", "web")


async def went(
    store: Store,
    by: NodeVoice,
    lease: Lease,
    policy: LeasePolicy = LeasePolicy.NEVER,
    generation: Generation | None = None,
) -> Lease:
    step = await store.retain(
        by.fence(),
        lease.identity,
        str(attachment("s1")),
        generation or lease.release_generation,
        policy=policy,
    )
    assert step.status is RetainStatus.RETAINED
    assert step.lease is not None
    return step.lease


async def test_a_live_lease_made_immediate_ends_with_its_pod(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one)
    step = await store.set_policy(lease.identity, timedelta(0), policy=LeasePolicy.IMMEDIATE)
    assert step.lease is not None

    ended = await went(store, one, step.lease, generation=lease.generation)

    assert (step.status, step.lease.policy) == (PolicyStatus.SET, LeasePolicy.IMMEDIATE)
    assert await due(store, ended.since) == [lease.identity]


async def test_a_lease_made_immediate_and_back_is_kept(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one)
    await store.set_policy(lease.identity, timedelta(0), policy=LeasePolicy.IMMEDIATE)
    await store.set_policy(lease.identity, None)

    ended = await went(store, one, lease)

    assert (ended.policy, ended.expires_at) == (LeasePolicy.NEVER, None)
    assert await due(store, ended.since + timedelta(days=99)) == []


async def test_the_clusters_policy_is_that_of_the_moment_when_the_pod_goes(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one)

    first = await went(store, one, lease, LeasePolicy.CASCADE)
    back = await store.acquire(one.claim("web-0"))
    assert back.lease is not None
    second = await went(store, one, back.lease, LeasePolicy.SCALE_DOWN)

    assert back.lease.policy is LeasePolicy.NEVER
    assert [first.policy, second.policy] == [LeasePolicy.CASCADE, LeasePolicy.SCALE_DOWN]


async def test_a_persons_policy_beats_the_clusters_and_the_pods(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one)
    await store.set_policy(lease.identity, SPAN, policy=LeasePolicy.CASCADE)

    again = await store.acquire(one.claim("web-0", sandbox="s1", expires_after=None))
    assert again.lease is not None
    ended = await went(store, one, again.lease, LeasePolicy.SCALE_DOWN)

    assert (ended.policy, ended.expires_after) == (LeasePolicy.CASCADE, SPAN)


async def test_the_same_policy_twice_is_one_step(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one)

    first = await store.set_policy(lease.identity, None, policy=LeasePolicy.CASCADE)
    again = await store.set_policy(lease.identity, None, policy=LeasePolicy.CASCADE)
    other = await store.set_policy(lease.identity, None, policy=LeasePolicy.SCALE_DOWN)

    assert first.lease == again.lease
    assert other.lease is not None
    assert other.lease.policy is LeasePolicy.SCALE_DOWN


@pytest.mark.parametrize("policy", [LeasePolicy.CASCADE, LeasePolicy.SCALE_DOWN])
async def test_a_lease_that_follows_its_workload_is_looked_at_when_the_pod_goes_and_then_again(
    store: Store, one: NodeVoice, policy: LeasePolicy
) -> None:
    lease = await went(store, one, await bound(store, one), policy)

    async def looked_at(after: timedelta) -> int:
        taken = await store.take_due(lease.since + after, limit=9, retry=RETRY, look=LOOK)
        return len(taken)

    seen = [await looked_at(timedelta(seconds=second)) for second in (0, 11, 29, 30, 59, 60)]

    assert seen == [1, 0, 0, 1, 0, 1]


async def test_a_span_that_is_over_before_the_next_look_is_seen_in_time(
    store: Store, one: NodeVoice
) -> None:
    step = await store.acquire(one.claim("web-0", candidate="10.0.0.9", expires_after=SPAN))
    assert step.lease is not None
    lease = await went(store, one, step.lease, LeasePolicy.CASCADE)

    await store.take_due(lease.since, limit=9, retry=RETRY, look=2 * SPAN)
    taken = await store.take_due(lease.since + SPAN, limit=9, retry=RETRY, look=2 * SPAN)

    assert taken == [lease]


async def test_a_rebuilt_store_looks_at_what_follows_its_workload(
    store: Store, one: NodeVoice
) -> None:
    lease = await went(store, one, await bound(store, one), LeasePolicy.SCALE_DOWN)

    await store.claim(2, empty=True)
    await store.restore(2, [lease])
    await store.open(2)
    store.use_epoch(2)

    assert await store.find(lease.identity) == lease
    assert await due(store, lease.since) == [lease.identity]


async def test_a_holder_elsewhere_that_has_ended_gives_way(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    held = await bound(store, one)
    claim = two.claim("web-0", uid="uid-2", sandbox="s2")

    step = await store.take_over(held.identity, held.generation, claim)
    again = await store.take_over(held.identity, held.generation, claim)
    late = await store.retain(
        one.fence(), held.identity, str(attachment("s1")), held.generation
    )

    assert (step.status, step.is_journaled) == (TakeOverStatus.MOVING, False)
    assert step.lease is not None
    assert (step.lease.state, step.lease.moving_to) == (AddressState.MOVING, two.node)
    assert step.lease.generation > held.generation
    assert (again.status, again.lease) == (TakeOverStatus.SUPERSEDED, step.lease)
    assert (late.status, late.lease) == (RetainStatus.SUPERSEDED, step.lease)


async def test_on_the_same_node_only_its_agent_ends_a_pod(store: Store, one: NodeVoice) -> None:
    held = await bound(store, one)
    claim = one.claim("web-0", uid="uid-2", sandbox="s2")

    step = await store.take_over(held.identity, held.generation, claim)

    assert (step.status, step.lease) == (TakeOverStatus.SUPERSEDED, held)


async def test_a_holder_that_has_changed_since_it_was_seen_keeps_its_address(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    held = await bound(store, one)
    newer = await store.acquire(one.claim("web-0", sandbox="s2"))

    step = await store.take_over(
        held.identity, held.generation, two.claim("web-0", uid="uid-2")
    )

    assert (step.status, step.lease) == (TakeOverStatus.SUPERSEDED, newer.lease)


async def test_only_what_a_pod_holds_is_taken_over(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    kept = await retained(store, one)
    claim = two.claim("web-0", uid="uid-2", sandbox="s2")

    of_nobody = await store.take_over(kept.identity, kept.generation, claim)
    asked = await store.acquire(claim)
    assert asked.lease is not None
    on_its_way = await store.take_over(
        kept.identity, asked.lease.generation, one.claim("web-0", uid="uid-3", sandbox="s3")
    )

    assert (of_nobody.status, of_nobody.lease) == (TakeOverStatus.SUPERSEDED, kept)
    assert (on_its_way.status, on_its_way.lease) == (TakeOverStatus.SUPERSEDED, asked.lease)


async def test_nothing_is_taken_over_where_there_is_no_lease(
    store: Store, two: NodeVoice
) -> None:
    step = await store.take_over(identity("web-0"), Generation(1), two.claim("web-0"))

    assert (step.status, step.lease) == (TakeOverStatus.UNKNOWN, None)


async def test_a_slot_taken_over_is_kept_for_the_pod_that_asked(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    first = one.claim("web-a", candidate="10.0.0.9", uid="a", pool_of=WEB)
    held = (await store.acquire(first)).lease
    assert held is not None
    claim = two.claim("web-b", uid="b", pool_of=WEB)

    step = await store.take_over(held.identity, held.generation, claim)

    assert step.lease is not None
    assert step.lease.reserved_for == "b"
    again = await voice(store, two.node, nonce="again", last=two.incarnation)
    asked = await store.acquire(again.claim("web-b", uid="b", pool_of=WEB))
    assert asked.lease == step.lease
