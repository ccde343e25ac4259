"""A kept address is its account's alone, in use or not; and EIPs leave with their address."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from services.vpc_simulator.model.eips import EipState
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.invariants import broken
from services.vpc_simulator.model.states import EniState
from tests.support.small_cloud import NOW, SmallCloud, secondaries

FREE = IPv4Address("10.0.1.77")
OTHER = "200000000002"


@pytest.fixture
def small() -> SmallCloud:
    return SmallCloud()


def refusal(call: Callable[[], object]) -> Code:
    with pytest.raises(ApiFailure) as caught:
        call()
    return caught.value.code


def test_an_address_is_kept_once(small: SmallCloud) -> None:
    small.reserve(FREE)

    assert refusal(lambda: small.reserve(FREE)) is Code.RESOURCE_IN_USE
    assert refusal(lambda: small.reserve(FREE, account=OTHER)) is Code.RESOURCE_IN_USE


def test_nobody_keeps_an_address_that_another_uses(small: SmallCloud) -> None:
    eni = small.attached(secondary_count=1)
    [used] = secondaries(eni)
    small.cloud.take_foreign("subnet-a", FREE, kind="CLB", now=NOW)

    assert refusal(lambda: small.reserve(used, account=OTHER)) is Code.RESOURCE_IN_USE
    assert refusal(lambda: small.reserve(FREE)) is Code.RESOURCE_IN_USE


def test_a_topology_may_refuse_to_keep_what_is_in_use() -> None:
    small = SmallCloud(reserves_used_addresses=False)
    [used] = secondaries(small.attached(secondary_count=1))

    assert refusal(lambda: small.reserve(used)) is Code.RESOURCE_IN_USE


def test_all_are_kept_or_none(small: SmallCloud) -> None:
    foreign = IPv4Address("10.0.1.78")
    small.cloud.take_foreign("subnet-a", foreign, kind="CLB", now=NOW)

    assert refusal(lambda: small.reserve(FREE, foreign)) is Code.RESOURCE_IN_USE
    assert small.cloud.reservations == {}


def test_one_in_use_is_not_let_go(small: SmallCloud) -> None:
    eni = small.attached()
    [kept] = small.reserve(FREE)
    small.settle(small.assign(eni, named=[str(FREE)]))

    assert refusal(lambda: small.unreserve(kept.id)) is Code.RESOURCE_IN_USE
    small.settle(small.unassign(eni, [FREE]))
    small.unreserve(kept.id)
    assert small.cloud.reservations == {}


def test_a_foreigner_is_refused_what_is_kept_after_it_left_its_eni(small: SmallCloud) -> None:
    eni = small.attached(secondary_count=1)
    [address] = secondaries(eni)
    small.reserve(address)

    small.settle(small.unassign(eni, [address]))

    assert (
        refusal(lambda: small.cloud.take_foreign("subnet-a", address, kind="CLB", now=NOW))
        is Code.RESOURCE_IN_USE
    )


@pytest.mark.parametrize(
    ("succeeds", "state"), [(True, EipState.UNBIND), (False, EipState.BIND)]
)
def test_an_eip_leaves_with_its_address_or_stays_with_it(
    small: SmallCloud, succeeds: bool, state: EipState
) -> None:
    eni = small.attached(secondary_count=1)
    [address] = secondaries(eni)
    eip, allocating = small.allocate_eip()
    small.settle(allocating)
    small.settle(small.associate(eip, eni, address))

    leaving = small.unassign(eni, [address])
    meanwhile = eip.state
    (small.settle if succeeds else small.fail)(leaving)

    assert meanwhile is EipState.UNBINDING
    assert eip.state is state
    assert broken(small.cloud) == []


def test_an_address_waits_for_its_eip_to_settle(small: SmallCloud) -> None:
    eni = small.attached(secondary_count=1)
    [address] = secondaries(eni)
    eip, allocating = small.allocate_eip()
    small.settle(allocating)
    small.associate(eip, eni, address)

    assert refusal(lambda: small.unassign(eni, [address])) is Code.MUTEX


def test_a_moving_eni_counts_at_both_ends_until_it_has_moved(small: SmallCloud) -> None:
    eni = small.attached("ins-one")
    moving = small.move(eni, "ins-one", "ins-two")

    assert refusal(lambda: small.create_attached("ins-two")) is Code.LIMIT_EXCEEDED
    assert refusal(lambda: small.create_attached("ins-one")) is Code.LIMIT_EXCEEDED
    assert eni.state is EniState.DETACHING

    small.settle(moving)
    assert eni.attachment is not None
    assert eni.attachment.instance == "ins-two"
    small.settle(small.create_attached("ins-one")[1])
    assert broken(small.cloud) == []
