"""Addresses come, go and move in the order that keeps each of them on one ENI."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from services.vpc_simulator.model.effects import SetEni
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.states import AddressState
from tests.support.small_cloud import SmallCloud, secondaries


@pytest.fixture
def small() -> SmallCloud:
    return SmallCloud()


def refusal(call: Callable[[], object]) -> Code:
    with pytest.raises(ApiFailure) as caught:
        call()
    return caught.value.code


def test_an_assigned_address_works_before_the_cloud_says_so(small: SmallCloud) -> None:
    eni = small.attached()
    assigning = small.assign(eni, 1)
    [new] = secondaries(eni)

    [effect] = small.cloud.effects(assigning)

    assert isinstance(effect, SetEni)
    assert new in effect.port.addresses
    assert eni.addresses[new].state is AddressState.PENDING
    small.cloud.complete(assigning, now=eni.created_at)
    assert eni.addresses[new].state is AddressState.AVAILABLE


def test_an_unassigned_address_stops_before_the_cloud_says_it_is_gone(
    small: SmallCloud,
) -> None:
    eni = small.attached(secondary_count=1)
    [leaving] = secondaries(eni)
    unassigning = small.unassign(eni, [leaving])

    [effect] = small.cloud.effects(unassigning)

    assert isinstance(effect, SetEni)
    assert leaving not in effect.port.addresses
    assert eni.addresses[leaving].state is AddressState.DELETING
    small.cloud.complete(unassigning, now=eni.created_at)
    assert leaving not in small.cloud.subnet("subnet-a").holders


def test_a_migrating_address_is_off_the_old_eni_before_it_is_on_the_new(
    small: SmallCloud,
) -> None:
    source = small.attached("ins-one", secondary_count=1)
    destination = small.attached("ins-two")
    [moving] = secondaries(source)
    migrating = small.migrate(source, destination, moving)

    off, on = small.cloud.effects(migrating)

    assert isinstance(off, SetEni)
    assert isinstance(on, SetEni)
    assert (off.port.eni, moving in off.port.addresses) == (source.id, False)
    assert (on.port.eni, moving in on.port.addresses) == (destination.id, True)
    small.cloud.complete(migrating, now=source.created_at)
    assert secondaries(source) == []
    assert secondaries(destination) == [moving]
    assert small.cloud.subnet("subnet-a").holders[moving].eni == destination.id


def test_one_change_at_a_time_per_eni(small: SmallCloud) -> None:
    source = small.attached("ins-one", secondary_count=2)
    destination = small.attached("ins-two")
    moving, other = secondaries(source)
    migrating = small.migrate(source, destination, moving)

    assert refusal(lambda: small.assign(source, 1)) is Code.MUTEX
    assert refusal(lambda: small.assign(destination, 1)) is Code.MUTEX
    assert refusal(lambda: small.unassign(source, [other])) is Code.MUTEX
    assert refusal(lambda: small.migrate(source, destination, other)) is Code.MUTEX

    small.settle(migrating)
    small.settle(small.unassign(source, [other]))
    assert secondaries(source) == []


def test_an_address_does_not_migrate_to_an_eni_under_change(small: SmallCloud) -> None:
    source = small.attached("ins-one", secondary_count=1)
    destination = small.attached("ins-two")
    [moving] = secondaries(source)
    small.assign(destination, 1)

    assert refusal(lambda: small.migrate(source, destination, moving)) is Code.MUTEX
    assert source.addresses[moving].state is AddressState.AVAILABLE


def test_a_changing_eni_takes_no_addresses(small: SmallCloud) -> None:
    eni, _ = small.create()

    assert refusal(lambda: small.assign(eni, 1)) is Code.INVALID_STATE


def test_an_eni_holds_no_more_addresses_than_its_quota(small: SmallCloud) -> None:
    eni = small.attached()
    small.settle(small.assign(eni, 5))

    assert refusal(lambda: small.assign(eni, 1)) is Code.LIMIT_EXCEEDED
    assert len(eni.addresses) == 6


def test_a_full_eni_takes_no_migrating_address(small: SmallCloud) -> None:
    source = small.attached("ins-one", secondary_count=1)
    destination = small.attached("ins-two", secondary_count=5)
    [moving] = secondaries(source)

    assert refusal(lambda: small.migrate(source, destination, moving)) is Code.LIMIT_EXCEEDED
    assert source.addresses[moving].state is AddressState.AVAILABLE


def test_nothing_is_assigned_when_only_part_can_be(small: SmallCloud) -> None:
    eni = small.attached()
    before = small.cloud.subnet("subnet-a").available

    code = refusal(lambda: small.assign(eni, 1, ["10.0.1.77", "10.0.1.2"]))

    assert code is Code.RESOURCE_IN_USE
    assert small.cloud.subnet("subnet-a").available == before
    assert secondaries(eni) == []


def test_a_count_never_picks_an_address_that_is_named_beside_it(small: SmallCloud) -> None:
    eni = small.attached()
    next_in_turn = max(small.cloud.subnet("subnet-a").holders) + 1

    small.settle(small.assign(eni, 2, [str(next_in_turn)]))

    assert len(set(secondaries(eni))) == 3


@pytest.mark.parametrize("which", ["source", "destination"])
def test_a_detached_eni_takes_no_part_in_a_migration(small: SmallCloud, which: str) -> None:
    source = small.attached("ins-one", secondary_count=1)
    destination = small.attached("ins-two")
    [moving] = secondaries(source)
    if which == "source":
        small.settle(small.detach(source, "ins-one"))
    else:
        small.settle(small.detach(destination, "ins-two"))

    refused = refusal(lambda: small.migrate(source, destination, moving))

    assert refused is Code.ATTACHMENT_NOT_FOUND


def test_a_topology_may_let_addresses_migrate_to_a_detached_eni() -> None:
    small = SmallCloud(migrates_to_detached_eni=True)
    source = small.attached("ins-one", secondary_count=1)
    parking, created = small.create()
    small.settle(created)
    [moving] = secondaries(source)

    small.settle(small.migrate(source, parking, moving))

    assert secondaries(parking) == [moving]


def test_a_primary_address_neither_leaves_nor_moves(small: SmallCloud) -> None:
    source = small.attached("ins-one")
    destination = small.attached("ins-two")
    primary = source.primary_address

    assert refusal(lambda: small.unassign(source, [primary])) is Code.UNSUPPORTED
    assert refusal(lambda: small.migrate(source, destination, primary)) is Code.PRIMARY_IP


def test_an_address_stays_in_its_subnet(small: SmallCloud) -> None:
    source = small.attached("ins-one", secondary_count=1)
    elsewhere, created = small.create("subnet-b")
    small.settle(created)
    small.settle(small.attach(elsewhere, "ins-far"))
    [moving] = secondaries(source)

    assert refusal(lambda: small.migrate(source, elsewhere, moving)) is Code.UNSUPPORTED


def test_an_address_that_the_eni_lacks_is_not_found(small: SmallCloud) -> None:
    eni = small.attached()
    stranger = IPv4Address("10.0.1.200")

    assert refusal(lambda: small.unassign(eni, [stranger])) is Code.RESOURCE_NOT_FOUND


def test_a_failed_migration_puts_the_address_back(small: SmallCloud) -> None:
    source = small.attached("ins-one", secondary_count=1)
    destination = small.attached("ins-two")
    [moving] = secondaries(source)

    small.fail(small.migrate(source, destination, moving))

    assert source.addresses[moving].state is AddressState.AVAILABLE
    assert moving not in destination.addresses
    small.settle(small.migrate(source, destination, moving))


def test_a_failed_assignment_takes_nothing(small: SmallCloud) -> None:
    eni = small.attached()
    before = small.cloud.subnet("subnet-a").available

    small.fail(small.assign(eni, 3))

    assert secondaries(eni) == []
    assert small.cloud.subnet("subnet-a").available == before


def test_a_freed_address_rests_longest(small: SmallCloud) -> None:
    eni = small.attached()
    small.settle(small.assign(eni, 1))
    [freed] = secondaries(eni)
    small.settle(small.unassign(eni, [freed]))

    small.settle(small.assign(eni, 1))

    assert secondaries(eni) != [freed]
