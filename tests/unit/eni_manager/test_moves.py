"""What authorises a move, where it goes, and what is said when it cannot."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from services.eni_manager.domain.moves import (
    FixedLease,
    Move,
    check_authorised,
    choose_eni,
    no_place,
)
from services.eni_manager.domain.placement import EniRoom
from shared.addresses import AddressState
from shared.errors import QuotaReached, Stale, WrongSubnet
from shared.ids import EniId, Identity, NodeName, SubnetId, Zone

MOVE = Move(
    identity=Identity("default", "web-0", "berth"),
    address=IPv4Address("10.0.1.5"),
    subnet=SubnetId("subnet-a"),
    from_eni=None,
    to_node=NodeName("node-2"),
    generation=7,
)
LEASE = FixedLease(
    address=MOVE.address,
    state=AddressState.MOVING,
    generation=7,
    moving_to=NodeName("node-2"),
)


def test_the_leases_own_moving_step_authorises_a_move() -> None:
    assert check_authorised(MOVE, LEASE) is LEASE


@pytest.mark.parametrize(
    "lease",
    [
        None,
        replace(LEASE, state=AddressState.RETAINED),
        replace(LEASE, state=AddressState.BOUND_FIXED),
        replace(LEASE, generation=6),
        replace(LEASE, generation=8),
        replace(LEASE, moving_to=NodeName("node-1")),
        replace(LEASE, address=IPv4Address("10.0.1.6")),
    ],
)
def test_anything_else_does_not(lease: FixedLease | None) -> None:
    with pytest.raises(Stale):
        check_authorised(MOVE, lease)


def test_an_address_arrives_on_the_fullest_eni_of_its_subnet_with_room() -> None:
    enis = [
        EniRoom(eni=EniId("eni-other"), subnet=SubnetId("subnet-b"), room=1),
        EniRoom(eni=EniId("eni-empty"), subnet=SubnetId("subnet-a"), room=9),
        EniRoom(eni=EniId("eni-fuller"), subnet=SubnetId("subnet-a"), room=2),
        EniRoom(eni=EniId("eni-full"), subnet=SubnetId("subnet-a"), room=0),
    ]

    assert choose_eni(SubnetId("subnet-a"), enis) == "eni-fuller"


def test_without_room_in_the_subnet_there_is_no_eni() -> None:
    enis = [EniRoom(eni=EniId("eni-1"), subnet=SubnetId("subnet-b"), room=5)]

    assert choose_eni(SubnetId("subnet-a"), enis) is None


def test_the_refusal_of_another_zone_names_subnet_and_zone() -> None:
    refusal = no_place(MOVE, Zone("zone-2"), Zone("zone-1"))

    assert isinstance(refusal, WrongSubnet)
    assert "subnet subnet-a in zone zone-1" in str(refusal)


def test_the_refusal_of_a_full_node_names_subnet_and_zone() -> None:
    refusal = no_place(MOVE, Zone("zone-1"), Zone("zone-1"))

    assert isinstance(refusal, QuotaReached)
    assert "subnet subnet-a (zone zone-1)" in str(refusal)
