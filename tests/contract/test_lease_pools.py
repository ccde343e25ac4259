"""Pools: pods with random names share as many addresses as there may be pods at once."""

from __future__ import annotations

import pytest

from services.allocator.domain.leases import AcquireStatus, Lease, RetainStatus, Step
from shared.addresses import AddressState
from shared.ids import EniId, Identity, SubnetId, WorkloadName
from tests.support.lease_requests import SUBNET, NodeVoice, attachment, identity
from tests.support.lease_steps import Store, voice

WEB = WorkloadName("default", "Deployment", "web")
OTHER = SubnetId("subnet-b")


def slot(number: int) -> Identity:
    return Identity.of_slot(WEB, number, "berth")


async def ask(
    store: Store,
    by: NodeVoice,
    pod: str,
    *,
    at: str | None = None,
    size: int = 2,
    subnets: frozenset[SubnetId] = frozenset({SUBNET}),
) -> Step[AcquireStatus]:
    """A pod's own claim: its uid and its sandbox bear its name."""
    return await store.acquire(
        by.claim(
            pod, candidate=at, uid=pod, sandbox=pod, pool_of=WEB, size=size, subnets=subnets
        )
    )


async def pooled(
    store: Store, by: NodeVoice, pod: str, at: str | None = None, size: int = 2
) -> Lease:
    step = await ask(store, by, pod, at=at, size=size)
    assert step.status is AcquireStatus.BOUND
    assert step.lease is not None
    return step.lease


async def end(store: Store, by: NodeVoice, lease: Lease) -> Lease:
    assert lease.attachment is not None
    step = await store.retain(by.fence(), lease.identity, lease.attachment, lease.generation)
    assert step.status is RetainStatus.RETAINED
    assert step.lease is not None
    return step.lease


async def test_each_pod_gets_a_slot_of_its_own(store: Store, one: NodeVoice) -> None:
    first = await pooled(store, one, "web-x7", "10.0.0.9")
    second = await pooled(store, one, "web-k2", "10.0.0.10")

    assert [first.identity, second.identity] == [slot(0), slot(1)]
    assert await store.find(identity("web-x7")) is None
    assert await store.find(slot(1)) == second


async def test_a_repeat_gets_the_same_slot(store: Store, one: NodeVoice) -> None:
    first = await pooled(store, one, "web-x7", "10.0.0.9")
    await pooled(store, one, "web-k2", "10.0.0.10")

    again = await ask(store, one, "web-x7", at="10.0.0.11")

    assert (again.status, again.lease) == (AcquireStatus.HELD, first)


async def test_a_new_sandbox_of_the_pod_keeps_its_slot(store: Store, one: NodeVoice) -> None:
    first = await pooled(store, one, "web-x7", "10.0.0.9")

    step = await store.acquire(
        one.claim("web-x7", uid="web-x7", sandbox="s2", pool_of=WEB, size=2)
    )

    assert step.lease is not None
    assert (step.lease.identity, step.lease.address) == (slot(0), first.address)


async def test_the_next_pod_has_the_address_of_the_one_that_ended(
    store: Store, one: NodeVoice
) -> None:
    ended = await end(store, one, await pooled(store, one, "web-x7", "10.0.0.9"))

    heir = await pooled(store, one, "web-k2", "10.0.0.10")

    assert (heir.identity, heir.address) == (slot(0), ended.address)
    assert heir.workload == WEB.local


async def test_a_slot_here_comes_before_one_elsewhere_and_the_longest_rested_first(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    there = await pooled(store, two, "web-a", "10.0.0.9", size=3)
    later = await pooled(store, one, "web-b", "10.0.0.10", size=3)
    sooner = await pooled(store, one, "web-c", "10.0.0.11", size=3)
    await end(store, two, there)
    await end(store, one, sooner)
    await end(store, one, later)

    heirs = [(await pooled(store, one, f"web-{n}", size=3)).address for n in (1, 2)]
    last = await ask(store, one, "web-3", size=3)

    assert heirs == [sooner.address, later.address]
    assert last.status is AcquireStatus.MUST_MOVE
    assert last.lease is not None
    assert last.lease.address == there.address


async def test_a_full_pool_waits_and_names_no_other_address(
    store: Store, one: NodeVoice
) -> None:
    await pooled(store, one, "web-a", "10.0.0.9", size=1)

    step = await ask(store, one, "web-b", at="10.0.0.10", size=1)

    assert (step.status, step.lease) == (AcquireStatus.POOL_FULL, None)
    assert len((await store.leases(0, 100))[1]) == 1


async def test_a_pool_without_a_candidate_waits_for_stock_while_it_has_room(
    store: Store, one: NodeVoice
) -> None:
    step = await ask(store, one, "web-a")

    assert step.status is AcquireStatus.NO_CANDIDATE


async def test_a_slot_that_moves_is_kept_for_the_pod_that_asked(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    await end(store, one, await pooled(store, one, "web-a", "10.0.0.9", size=4))
    moving = await ask(store, two, "web-b", size=4)
    assert moving.lease is not None
    while_moving = await pooled(store, two, "web-c", "10.0.0.10", size=4)

    repeated = await ask(store, two, "web-b", at="10.0.0.11", size=4)
    await store.arrive(slot(0), moving.lease.generation, two.node, EniId("eni-b"))
    once_there = await pooled(store, two, "web-d", "10.0.0.12", size=4)
    bound = await pooled(store, two, "web-b", "10.0.0.11", size=4)

    assert (repeated.status, repeated.lease) == (AcquireStatus.MUST_MOVE, moving.lease)
    assert [while_moving.identity, once_there.identity] == [slot(1), slot(2)]
    assert (bound.identity, bound.reserved_for) == (slot(0), None)


async def test_a_slot_that_ended_makes_room_at_once(store: Store, one: NodeVoice) -> None:
    ended = await end(store, one, await pooled(store, one, "web-a", "10.0.0.9", size=1))
    await store.give_up(ended.identity, ended.generation, force=False)

    heir = await pooled(store, one, "web-b", "10.0.0.10", size=1)

    assert heir.identity == slot(1)


async def test_what_was_moved_for_a_pod_that_never_came_is_another_pods_at_last(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    await end(store, one, await pooled(store, one, "web-a", "10.0.0.9", size=1))
    moving = await ask(store, two, "web-lost", size=1)
    assert moving.lease is not None
    await store.arrive(slot(0), moving.lease.generation, two.node, EniId("eni-b"))

    heir = await pooled(store, two, "web-c", "10.0.0.10", size=1)

    assert (heir.identity, heir.address) == (slot(0), moving.lease.address)


async def test_a_slot_out_of_reach_is_ended_when_no_other_is_left(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    far = await end(store, one, await pooled(store, one, "web-a", "10.0.0.9", size=1))

    step = await ask(store, two, "web-b", at="10.1.0.9", size=1, subnets=frozenset({OTHER}))

    assert step.status is AcquireStatus.BOUND
    assert step.lease is not None
    assert step.ended is not None
    assert (step.lease.identity, str(step.lease.address)) == (slot(1), "10.1.0.9")
    assert (step.ended.identity, step.ended.state) == (far.identity, AddressState.EXPIRED)
    assert await store.find(far.identity) == step.ended
    assert {lease.identity for lease in await store.unjournaled(9)} == {slot(0), slot(1)}


async def test_nothing_is_ended_for_a_candidate_that_is_taken(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    far = await end(store, one, await pooled(store, one, "web-a", "10.0.0.9", size=1))
    await store.acquire(one.claim("db-0", candidate="10.1.0.9"))

    step = await ask(store, two, "web-b", at="10.1.0.9", size=1, subnets=frozenset({OTHER}))

    assert step.status is AcquireStatus.CANDIDATE_TAKEN
    assert await store.find(far.identity) == far


async def test_a_pool_that_shrank_keeps_what_its_pods_have(
    store: Store, one: NodeVoice
) -> None:
    pods = [await pooled(store, one, f"web-{n}", f"10.0.0.{10 + n}", size=4) for n in range(4)]
    await end(store, one, pods[3])

    step = await ask(store, one, "web-new", at="10.0.0.20", size=2)

    assert step.status is AcquireStatus.BOUND
    assert step.lease is not None
    assert step.lease.address == pods[3].address


async def test_a_rebuilt_pool_is_the_pool_it_was(store: Store, one: NodeVoice) -> None:
    kept = await end(store, one, await pooled(store, one, "web-a", "10.0.0.9"))
    await store.claim(2, empty=True)
    await store.restore(2, [kept])
    await store.open(2)
    store.use_epoch(2)
    again = await voice(store, one.node, nonce="again", last=one.incarnation)

    heir = await pooled(store, again, "web-b", "10.0.0.10")

    assert (heir.identity, heir.address) == (slot(0), kept.address)


@pytest.mark.parametrize("surge", [0, 1, 2])
async def test_ten_rolling_updates_use_no_address_more_than_there_may_be_pods(
    store: Store, one: NodeVoice, two: NodeVoice, surge: int
) -> None:
    size, pods = 3 + surge, dict[str, tuple[NodeVoice, Lease]]()
    seen = set()
    stock = iter(range(10, 250))

    async def start(pod: str) -> None:
        by = (one, two)[sum(map(ord, pod)) % 2]
        for _ in range(2):  # a move, and what follows it
            step = await ask(store, by, pod, at=f"10.0.0.{next(stock)}", size=size)
            assert step.lease is not None, f"{pod} is refused: {step.status}"
            if step.status is AcquireStatus.BOUND:
                pods[pod] = (by, step.lease)
                seen.add(step.lease.address)
                return
            assert step.status is AcquireStatus.MUST_MOVE
            await store.arrive(
                step.lease.identity, step.lease.generation, by.node, EniId("eni-b")
            )
        raise AssertionError(f"{pod} got nothing")

    for number in range(3):
        await start(f"web-0-{number}")
    for update in range(1, 11):
        for number in range(3):
            if surge:
                await start(f"web-{update}-{number}")
            by, lease = pods.pop(f"web-{update - 1}-{number}")
            await end(store, by, lease)
            if not surge:
                await start(f"web-{update}-{number}")

    assert len(seen) <= size
    assert len((await store.leases(0, 100))[1]) <= size
    assert {lease.identity for _, lease in pods.values()} <= {slot(n) for n in range(size)}


async def test_a_slots_attachment_is_released_under_the_slots_name(
    store: Store, one: NodeVoice
) -> None:
    lease = await pooled(store, one, "web-a", "10.0.0.9")

    as_pod = await store.retain(
        one.fence(), identity("web-a"), str(attachment("web-a")), lease.generation
    )

    assert as_pod.status is RetainStatus.UNKNOWN
    assert await store.find(slot(0)) == lease


def test_a_slot_is_told_from_a_pod_by_its_name() -> None:
    assert (slot(3).slot_workload, slot(3).pod) == (WEB, None)
    assert identity("web-0").slot_workload is None
    assert Identity.from_token(slot(3).token) == slot(3)
