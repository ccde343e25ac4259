"""A lease of a backup is put back, unless the books say otherwise of it or of its address."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.allocator.domain.leases import Lease, PutBackStatus, RetainStatus
from shared.addresses import AddressState
from tests.support.lease_requests import NodeVoice, attachment, identity
from tests.support.lease_steps import Store


async def bound(store: Store, one: NodeVoice, pod: str, address: str) -> Lease:
    step = await store.acquire(one.claim(pod, candidate=address))
    assert step.lease is not None
    return step.lease


async def put(store: Store, lease: Lease, *, replace: bool = False) -> PutBackStatus:
    return (await store.put_back(lease, replace=replace, is_trial=False)).status


async def lost(store: Store, lease: Lease) -> None:
    """As if it had never been."""
    await store.give_up(lease.identity, lease.generation, force=True)
    gone = await store.find(lease.identity)
    assert gone is not None
    await store.forget(lease.identity, gone.generation)


async def test_a_lost_lease_is_put_back_and_marked_for_the_journal(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one, "web-0", "10.0.0.10")
    await lost(store, lease)

    step = await store.put_back(lease, replace=False, is_trial=False)

    found = await store.find(lease.identity)
    assert step.status is PutBackStatus.RESTORED
    assert found == step.lease
    assert found is not None
    assert found.generation > lease.generation
    assert (found.address, found.state, found.since) == (
        lease.address,
        lease.state,
        lease.since,
    )
    assert lease.identity in {each.identity for each in await store.unjournaled(10)}


async def test_the_agent_of_a_lease_put_back_ends_the_bind_it_knows_of(
    store: Store, one: NodeVoice
) -> None:
    lease = await bound(store, one, "web-0", "10.0.0.10")
    await lost(store, lease)
    await put(store, lease)

    step = await store.retain(
        one.fence(), lease.identity, str(attachment("s1")), lease.generation
    )

    assert step.status is RetainStatus.RETAINED


async def test_a_lease_put_back_twice_is_there_once(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one, "web-0", "10.0.0.10")
    await lost(store, lease)

    statuses = [await put(store, lease) for _ in range(2)]

    assert statuses == [PutBackStatus.RESTORED, PutBackStatus.SAME]
    assert await store.count() == 1


async def test_a_trial_changes_nothing(store: Store, one: NodeVoice) -> None:
    lease = await bound(store, one, "web-0", "10.0.0.10")
    await lost(store, lease)

    step = await store.put_back(lease, replace=False, is_trial=True)

    assert step.status is PutBackStatus.RESTORED
    assert await store.find(lease.identity) is None


async def test_another_lease_of_the_identity_is_given_up_only_when_told(
    store: Store, one: NodeVoice
) -> None:
    old = await bound(store, one, "web-0", "10.0.0.10")
    await lost(store, old)
    new = await bound(store, one, "web-0", "10.0.0.11")

    assert await put(store, old) is PutBackStatus.LIVE
    assert await store.find(old.identity) == new

    assert await put(store, old, replace=True) is PutBackStatus.RESTORED
    found = await store.find(old.identity)
    assert found is not None
    assert found.address == old.address
    await bound(store, one, "web-1", "10.0.0.11")  # the address is nobody's any more


@pytest.mark.parametrize("replace", [False, True])
async def test_an_address_that_another_identity_has_is_never_given_to_two(
    store: Store, one: NodeVoice, replace: bool
) -> None:
    old = await bound(store, one, "web-0", "10.0.0.10")
    await lost(store, old)
    new = await bound(store, one, "web-1", "10.0.0.10")

    status = await put(store, old, replace=replace)

    assert status is PutBackStatus.ADDRESS_TAKEN
    assert await store.find(new.identity) == new
    assert await store.find(old.identity) is None


async def test_a_lease_that_moves_is_left_to_its_move(
    store: Store, one: NodeVoice, two: NodeVoice
) -> None:
    lease = await bound(store, one, "web-0", "10.0.0.10")
    await store.retain(one.fence(), lease.identity, str(attachment("s1")), lease.generation)
    await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))

    status = await put(store, replace(lease, state=AddressState.RETAINED), replace=True)

    assert status is PutBackStatus.MOVING


async def test_leases_are_found_many_at_a_time(store: Store, one: NodeVoice) -> None:
    first = await bound(store, one, "web-0", "10.0.0.10")
    second = await bound(store, one, "web-1", "10.0.0.11")

    found = await store.found_of([identity("web-1"), identity("none"), identity("web-0")])

    assert found == [second, None, first]
    assert await store.found_of([]) == []
