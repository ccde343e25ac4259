"""Which ENI is filled first, which subnet gets the next ENI, and what is said when none can."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.eni_manager.domain.placement import (
    AddEniStep,
    AssignStep,
    EniRoom,
    NodeRoom,
    capacity,
    plan_growth,
    subnets_of_zone,
)
from shared.cloud.words import Subnet
from shared.errors import NoSubnetInZone, QuotaReached, SubnetFull
from shared.ids import EniId, NodeName, SubnetId, VpcId, Zone

NODE = NodeName("node-1")
ZONE = Zone("zone-1")


def a_subnet(name: str, free: int, zone: str = "zone-1") -> Subnet:
    return Subnet(
        subnet=SubnetId(name),
        vpc=VpcId("vpc-one"),
        zone=Zone(zone),
        cidr=IPv4Network("10.0.0.0/24"),
        free=free,
        total=253,
    )


def an_eni(name: str, room: int, subnet: str = "subnet-a") -> EniRoom:
    return EniRoom(eni=EniId(name), subnet=SubnetId(subnet), room=room)


def a_node(*enis: EniRoom, slots: int = 0, addresses_max: int = 5) -> NodeRoom:
    return NodeRoom(
        node=NODE, zone=ZONE, enis=enis, eni_slots=slots, addresses_max=addresses_max
    )


def test_the_fullest_eni_is_filled_first() -> None:
    node = a_node(an_eni("eni-empty", 5), an_eni("eni-full", 1))

    growth = plan_growth(3, node, [a_subnet("subnet-a", 100)])

    assert growth.steps == (
        AssignStep(eni=EniId("eni-full"), count=1),
        AssignStep(eni=EniId("eni-empty"), count=2),
    )
    assert growth.shortage is None


def test_the_next_eni_comes_from_the_subnet_with_most_free_addresses() -> None:
    growth = plan_growth(
        3, a_node(slots=1), [a_subnet("subnet-a", 10), a_subnet("subnet-b", 90)]
    )

    assert growth.steps == (AddEniStep(subnet=SubnetId("subnet-b"), count=3),)


def test_an_enis_primary_address_is_counted_off_the_subnet() -> None:
    growth = plan_growth(3, a_node(slots=1), [a_subnet("subnet-a", 3)])

    assert growth.steps == (AddEniStep(subnet=SubnetId("subnet-a"), count=2),)
    assert isinstance(growth.shortage, SubnetFull)
    assert "subnet-a has 3 of 253 free" in str(growth.shortage)


def test_a_full_subnet_is_followed_by_another_while_a_slot_remains() -> None:
    node = a_node(an_eni("eni-1", 4, "subnet-a"), slots=1)

    growth = plan_growth(3, node, [a_subnet("subnet-a", 1), a_subnet("subnet-b", 9)])

    assert growth.steps == (
        AssignStep(eni=EniId("eni-1"), count=1),
        AddEniStep(subnet=SubnetId("subnet-b"), count=2),
    )


def test_a_quota_that_is_reached_is_told_with_its_numbers() -> None:
    growth = plan_growth(2, a_node(an_eni("eni-1", 0)), [a_subnet("subnet-a", 100)])

    assert growth.steps == ()
    assert isinstance(growth.shortage, QuotaReached)
    assert "node-1 lacks 2 addresses: all of its 1 ENIs with 5 addresses" in str(
        growth.shortage
    )


def test_only_subnets_of_the_nodes_zone_are_used() -> None:
    here, there = a_subnet("subnet-a", 1), a_subnet("subnet-b", 1, "zone-2")

    assert subnets_of_zone(NODE, ZONE, [here, there]) == (here,)


def test_a_zone_without_a_subnet_is_named_with_those_that_have_one() -> None:
    with pytest.raises(NoSubnetInZone, match=r"zone zone-9, .* have one: zone-1, zone-2;"):
        subnets_of_zone(NODE, Zone("zone-9"), [a_subnet("a", 1), a_subnet("b", 1, "zone-2")])


@given(
    wanted=st.integers(0, 300),
    rooms=st.lists(st.integers(0, 29), max_size=6),
    slots=st.integers(0, 6),
    free=st.lists(st.integers(0, 60), min_size=1, max_size=3),
)
def test_a_plan_keeps_every_limit_and_misses_nothing_without_a_reason(
    wanted: int, rooms: list[int], slots: int, free: list[int]
) -> None:
    subnets = [a_subnet(f"subnet-{at}", each) for at, each in enumerate(free)]
    enis = [an_eni(f"eni-{at}", each, "subnet-0") for at, each in enumerate(rooms)]

    growth = plan_growth(wanted, a_node(*enis, slots=slots, addresses_max=29), subnets)

    added = [each for each in growth.steps if isinstance(each, AddEniStep)]
    assigned = [each for each in growth.steps if isinstance(each, AssignStep)]
    assert len(added) <= slots
    assert all(0 < each.count <= 29 for each in added)
    assert all(each.count <= rooms[int(each.eni.removeprefix("eni-"))] for each in assigned)
    taken = dict.fromkeys((each.subnet for each in subnets), 0)
    taken[SubnetId("subnet-0")] += sum(each.count for each in assigned)
    for each in added:
        taken[each.subnet] += each.count + 1
    assert all(taken[each.subnet] <= each.free for each in subnets)
    total = sum(each.count for each in growth.steps)
    assert total <= wanted
    assert (growth.shortage is None) == (total == wanted)


@pytest.mark.parametrize(
    ("pods_max", "free", "addresses_max", "addresses_free"),
    [
        (None, 100, 12, 8),  # 4 held, 3 fit on the ENI there is, 5 on one that may come
        (6, 100, 6, 2),
        (3, 100, 3, 0),
        (None, 5, 12, 4),  # one of the five is the new ENI's primary address
        (None, 0, 12, 0),
    ],
)
def test_capacity_is_quota_and_pod_maximum_and_what_the_subnets_can_still_give(
    pods_max: int | None, free: int, addresses_max: int, addresses_free: int
) -> None:
    told = capacity(
        a_node(an_eni("eni-a", 3), slots=1),
        [a_subnet("subnet-a", free)],
        enis_max=2,
        held=4,
        pods_max=pods_max,
    )

    assert (told.addresses_max, told.addresses_free) == (addresses_max, addresses_free)
    assert (told.enis_max, told.enis_free) == (2, min(1, free))
