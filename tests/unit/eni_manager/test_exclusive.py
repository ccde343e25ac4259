"""Where ENIs for single pods are made, and when one may leave its node."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from services.eni_manager.domain.exclusive import plan_whole
from services.eni_manager.domain.moves import FixedLease, Parking, check_parking
from shared.addresses import AddressState
from shared.cloud.words import Subnet
from shared.errors import QuotaReached, Stale, SubnetFull
from shared.ids import EniId, Identity, NodeName, SubnetId, VpcId, Zone

NODE = NodeName("node-1")
DB_0 = Identity("default", "db-0", "berth")
PARKING = Parking(
    identity=DB_0,
    address=IPv4Address("10.0.1.9"),
    eni=EniId("eni-1"),
    node=NODE,
    generation=7,
)
LEASE = FixedLease(
    address=PARKING.address, state=AddressState.MOVING, generation=7, moving_to=None
)


def subnet(name: str, free: int) -> Subnet:
    return Subnet(
        subnet=SubnetId(name),
        vpc=VpcId("vpc-1"),
        zone=Zone("zone-1"),
        cidr=IPv4Network("10.0.1.0/24"),
        free=free,
        total=253,
    )


def test_each_eni_is_made_where_most_addresses_are_free_by_then() -> None:
    growth = plan_whole(
        3, NODE, slots=5, enis_max=5, subnets=[subnet("subnet-a", 4), subnet("subnet-b", 3)]
    )

    assert growth.subnets == ("subnet-a", "subnet-b", "subnet-a")
    assert growth.shortage is None


def test_what_the_slots_do_not_hold_is_a_shortage_with_the_numbers() -> None:
    growth = plan_whole(3, NODE, slots=1, enis_max=3, subnets=[subnet("subnet-a", 9)])

    assert growth.subnets == ("subnet-a",)
    assert isinstance(growth.shortage, QuotaReached)
    assert "node-1 lacks 2 ENIs" in str(growth.shortage)
    assert "all 3 that its instance may have" in str(growth.shortage)


def test_a_full_zone_is_a_shortage_of_its_own() -> None:
    growth = plan_whole(2, NODE, slots=5, enis_max=5, subnets=[subnet("subnet-a", 1)])

    assert growth.subnets == ("subnet-a",)
    assert isinstance(growth.shortage, SubnetFull)


def test_nothing_is_made_when_nothing_is_wanted() -> None:
    growth = plan_whole(0, NODE, slots=0, enis_max=3, subnets=[])

    assert (growth.subnets, growth.shortage) == ((), None)


def test_the_leases_step_to_nowhere_lets_its_eni_leave() -> None:
    check_parking(PARKING, LEASE)


@pytest.mark.parametrize(
    "lease",
    [
        None,
        replace(LEASE, address=IPv4Address("10.0.1.8")),
        replace(LEASE, state=AddressState.RETAINED),
        replace(LEASE, state=AddressState.BOUND_FIXED),
        replace(LEASE, generation=8),
        replace(LEASE, moving_to=NodeName("node-2")),
    ],
)
def test_nothing_else_does(lease: FixedLease | None) -> None:
    with pytest.raises(Stale):
        check_parking(PARKING, lease)
