"""What every store of leases promises of its steps, in memory and on a real server."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from services.allocator.domain.leases import AcquireStatus, ArriveStatus, RetainStatus
from shared.addresses import AddressState
from shared.ids import EniId, Generation, generation
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import (
    ONE,
    TWO,
    Store,
    bound,
    moving,
    retained,
)


async def test_the_candidate_becomes_the_lease(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one)

    assert lease.address == IPv4Address("10.0.0.9")
    assert (lease.state, lease.node, lease.eni) == (
        AddressState.BOUND_FIXED,
        ONE,
        "eni-node-1",
    )
    assert lease.generation == generation(1, 1)
    assert await store.find(identity("web-0")) == lease


async def test_without_a_candidate_there_is_no_first_lease(
    store: Store, one: NodeVoice
) -> None:
    step = await store.acquire(one.claim("web-0"))

    assert step.status is AcquireStatus.NO_CANDIDATE
    assert await store.find(identity("web-0")) is None


async def test_an_address_is_never_two_leases(store: Store, one: NodeVoice) -> None:
    await bound(store, one, "web-0", "10.0.0.9")

    step = await store.acquire(one.claim("web-1", candidate="10.0.0.9"))

    assert step.status is AcquireStatus.CANDIDATE_TAKEN
    assert await store.find(identity("web-1")) is None


async def test_asking_again_changes_nothing(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one)

    again = await store.acquire(one.claim("web-0", candidate="10.0.0.9"))

    assert (again.status, again.lease) == (AcquireStatus.HELD, lease)


async def test_a_new_sandbox_of_the_pod_keeps_the_address(store: Store, one: NodeVoice) -> None:
    first = await bound(store, one)

    again = await store.acquire(one.claim("web-0", candidate="10.0.0.10", sandbox="s2"))

    assert again.status is AcquireStatus.BOUND
    assert again.lease is not None
    assert again.lease.address == first.address
    assert again.lease.attachment == str(attachment("s2"))
    assert again.lease.generation > first.generation


@pytest.mark.parametrize("node", ["one", "two"])
async def test_another_uid_waits_for_the_holder(
    store: Store, one: NodeVoice, two: NodeVoice, node: str
) -> None:
    lease = await bound(store, one)
    asking = one if node == "one" else two

    step = await store.acquire(asking.claim("web-0", uid="uid-2", sandbox="s2"))

    assert (step.status, step.lease) == (AcquireStatus.HOLDER_ALIVE, lease)


async def test_the_same_uid_on_another_node_waits_too(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await bound(store, one)

    step = await store.acquire(two.claim("web-0"))

    assert (step.status, step.lease) == (AcquireStatus.HOLDER_ALIVE, lease)


async def test_a_released_lease_stays_and_returns_to_the_next_pod(
    store: Store, one: NodeVoice
) -> None:
    kept = await retained(store, one)

    back = await store.acquire(one.claim("web-0", uid="uid-2", sandbox="s2"))

    assert kept.state is AddressState.RETAINED
    assert back.status is AcquireStatus.BOUND
    assert back.lease is not None
    assert (back.lease.address, back.lease.pod_uid) == (kept.address, "uid-2")


async def test_a_release_twice_is_answered_the_same(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one)

    answers = [
        await store.retain(one.fence(), lease.identity, str(attachment("s1")), lease.generation)
        for _ in range(2)
    ]

    assert [answer.status for answer in answers] == [RetainStatus.RETAINED] * 2
    assert answers[0].lease == answers[1].lease


@pytest.mark.parametrize(("sandbox", "behind"), [("s2", 0), ("s1", 1)])
async def test_a_release_of_another_bind_changes_nothing(
    store: Store, one: NodeVoice, sandbox: str, behind: int
) -> None:
    lease = await bound(store, one)

    step = await store.retain(
        one.fence(),
        lease.identity,
        str(attachment(sandbox)),
        Generation(lease.generation - behind),
    )

    assert step.status is RetainStatus.SUPERSEDED
    assert await store.find(lease.identity) == lease


async def test_releasing_an_unknown_identity_says_so(store: Store, one: NodeVoice) -> None:
    step = await store.retain(one.fence(), identity("x"), str(attachment("s1")), Generation(1))

    assert (step.status, step.lease) == (RetainStatus.UNKNOWN, None)


async def test_a_lease_elsewhere_must_move_and_arrives(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)

    step = await store.arrive(lease.identity, lease.generation, TWO, EniId("eni-2"))

    assert (lease.state, lease.node, lease.moving_to) == (AddressState.MOVING, ONE, TWO)
    assert step.status is ArriveStatus.ARRIVED
    assert step.lease is not None
    assert (step.lease.state, step.lease.node, step.lease.eni, step.lease.moving_to) == (
        AddressState.RETAINED,
        TWO,
        "eni-2",
        None,
    )


async def test_a_move_is_asked_for_again_under_the_same_generation(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)

    again = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))
    elsewhere = await store.acquire(one.claim("web-0", uid="uid-3", sandbox="s3"))

    assert (again.status, again.lease) == (AcquireStatus.MUST_MOVE, lease)
    assert (elsewhere.status, elsewhere.lease) == (AcquireStatus.MOVING, lease)


async def test_an_arrival_counts_once_and_only_for_its_own_step(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await moving(store, one, two)
    older = Generation(lease.generation - 1)

    early = await store.arrive(lease.identity, older, TWO, EniId("eni-2"))
    arrived = await store.arrive(lease.identity, lease.generation, TWO, EniId("eni-2"))
    late = await store.arrive(lease.identity, lease.generation, ONE, EniId("eni-1"))

    assert [early.status, arrived.status, late.status] == [
        ArriveStatus.SUPERSEDED,
        ArriveStatus.ARRIVED,
        ArriveStatus.SUPERSEDED,
    ]
    assert late.lease == arrived.lease


async def test_what_does_not_move_does_not_arrive(store: Store, one: NodeVoice) -> None:
    held = await bound(store, one)
    at_home = await retained(store, one, "web-1", at="10.0.0.10")

    steps = [
        await store.arrive(lease.identity, lease.generation, TWO, EniId("eni-2"))
        for lease in (held, at_home)
    ]

    assert [(step.status, step.lease) for step in steps] == [
        (ArriveStatus.SUPERSEDED, held),
        (ArriveStatus.SUPERSEDED, at_home),
    ]


async def test_every_step_is_marked_until_its_generation_is_journaled(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one)

    await store.journaled([replace(lease, generation=Generation(lease.generation - 1))])
    marked = await store.acquire(one.claim("web-0"))
    await store.journaled([lease])
    clear = await store.acquire(one.claim("web-0"))

    assert (marked.is_journaled, clear.is_journaled) == (False, True)
    assert await store.unjournaled(10) == []


async def test_a_newer_step_keeps_its_mark(store: Store, one: NodeVoice) -> None:
    first = await bound(store, one)
    await store.acquire(one.claim("web-0", sandbox="s2"))

    await store.journaled([first])

    assert [lease.identity for lease in await store.unjournaled(10)] == [first.identity]


async def test_how_long_it_is_kept_is_kept(store: Store, one: NodeVoice) -> None:
    span = timedelta(minutes=5)

    await store.acquire(one.claim("web-0", candidate="10.0.0.9", expires_after=span))

    found = await store.find(identity("web-0"))
    assert found is not None
    assert found.expires_after == span


async def test_all_leases_are_listed_once(store: Store, one: NodeVoice) -> None:
    for number in range(7):
        await bound(store, one, f"web-{number}", f"10.0.0.{10 + number}")

    cursor, page = await store.leases(0, 3)
    listed = list(page)
    while cursor:
        cursor, page = await store.leases(cursor, 3)
        listed += page

    assert sorted(lease.identity.name for lease in listed) == [f"web-{n}" for n in range(7)]
