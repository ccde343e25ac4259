"""Where pods that name subnets get their addresses, and why not, where none can come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from services.eni_manager.domain.nominations import Nominated, plan_nominated
from services.eni_manager.domain.placement import AddEniStep, AssignStep, EniRoom, NodeRoom
from services.eni_manager.domain.records import Demand, WaitingIn
from services.eni_manager.domain.watermarks import Watermarks, excess, lacking
from shared.cloud.words import Subnet
from shared.errors import BerthError, InvalidInput, QuotaReached, SubnetFull
from shared.ids import EniId, NodeName, SubnetId, VpcId, Zone

A, B, FAR = SubnetId("subnet-a"), SubnetId("subnet-b"), SubnetId("subnet-far")
NODE = NodeRoom(
    node=NodeName("node-1"),
    zone=Zone("zone-1"),
    enis=[EniRoom(eni=EniId("eni-a"), subnet=A, room=5)],
    eni_slots=1,
    addresses_max=5,
)


def a_subnet(name: SubnetId, free: int = 100, zone: str = "zone-1") -> Subnet:
    return Subnet(
        subnet=name,
        vpc=VpcId("vpc-one"),
        zone=Zone(zone),
        cidr=IPv4Network("10.0.0.0/24"),
        free=free,
        total=253,
    )


SUBNETS = [a_subnet(A), a_subnet(B), a_subnet(FAR, zone="zone-2")]


def waits(*subnets: SubnetId, count: int = 1, idle: int = 0) -> Demand:
    return Demand(waiting_in=(WaitingIn(subnets=subnets, count=count, idle=idle),))


def planned(
    demand: Demand,
    node: NodeRoom = NODE,
    subnets: Sequence[Subnet] = SUBNETS,
    *,
    coming: Mapping[SubnetId, int] | None = None,
    left_alone: Mapping[SubnetId, str] | None = None,
    addresses_left: int | None = None,
) -> Nominated:
    return plan_nominated(
        demand,
        node,
        subnets,
        coming=coming or {},
        left_alone=left_alone or {},
        addresses_left=addresses_left,
    )


def test_an_eni_of_the_named_subnet_is_filled() -> None:
    assert planned(waits(A, count=2)).steps == (AssignStep(eni=EniId("eni-a"), count=2),)


def test_a_new_eni_is_made_in_the_named_subnet_though_another_has_room() -> None:
    assert planned(waits(B)).steps == (AddEniStep(subnet=B, count=1, among=(B,)),)


@pytest.mark.parametrize(
    ("demand", "coming"), [(waits(B, idle=1), {}), (waits(A, B), {B: 1}), (Demand(), {})]
)
def test_what_is_idle_or_coming_there_is_not_got_again(
    demand: Demand, coming: dict[SubnetId, int]
) -> None:
    assert planned(demand, coming=coming) == Nominated(steps=(), shortages=())


def test_a_nomination_that_cannot_be_served_keeps_no_other_from_it() -> None:
    hopeless, fine = waits(FAR), waits(A)
    both = Demand(waiting_in=(*hopeless.waiting_in, *fine.waiting_in))

    plan = planned(both)

    assert plan.steps == (AssignStep(eni=EniId("eni-a"), count=1),)
    assert len(plan.shortages) == 1


@pytest.mark.parametrize(
    ("named", "subnets", "node", "left", "kind", "told"),
    [
        pytest.param(
            SubnetId("subnet-x"), SUBNETS, NODE, None, InvalidInput,
            ["subnet-x is not a container subnet", "zone-1: subnet-a, subnet-b", "subnet add"],
            id="unknown",
        ),
        pytest.param(
            FAR, SUBNETS, NODE, None, InvalidInput,
            ["subnet-far is in zone zone-2, the node in zone-1", "subnet-a, subnet-b"],
            id="other-zone",
        ),
        pytest.param(
            B, [replace(a_subnet(B, 0), closed="cordoned")], NODE, None, SubnetFull,
            ["subnet-b is cordoned", "name another"],
            id="cordoned",
        ),
        pytest.param(
            B, [a_subnet(A), a_subnet(B, 0)], NODE, None, SubnetFull,
            ["subnet-b has 0 of 253 free", "release addresses"],
            id="full",
        ),
        pytest.param(
            B, [a_subnet(A), a_subnet(B, 1)], NODE, None, SubnetFull,
            ["subnet-b has 1 of 253 free"],
            id="only-enough-for-the-eni-itself",
        ),
        pytest.param(
            B, SUBNETS, replace(NODE, eni_slots=0), None, QuotaReached,
            ["subnet-b", "quota", "larger instance"],
            id="no-slot",
        ),
        pytest.param(
            A, SUBNETS, NODE, 0, QuotaReached, ["pod maximum"], id="pod-maximum"
        ),
    ],
)  # fmt: skip
def test_why_a_nomination_cannot_be_served_is_told(
    named: SubnetId,
    subnets: Sequence[Subnet],
    node: NodeRoom,
    left: int | None,
    kind: type[BerthError],
    told: list[str],
) -> None:
    plan = planned(waits(named), node, subnets, addresses_left=left)

    [shortage] = plan.shortages
    assert plan.steps == ()
    assert type(shortage) is kind
    for each in (f"node node-1 lacks 1 addresses of {named}", *told):
        assert each in str(shortage)


def test_a_subnet_that_is_left_alone_is_not_asked_and_is_told() -> None:
    plan = planned(waits(B), left_alone={B: "refused thrice"})

    assert plan.steps == ()
    assert "subnet-b is left alone for a while (refused thrice)" in str(plan.shortages[0])


def test_ordinary_demand_is_not_changed_and_nothing_is_taken_back_meanwhile() -> None:
    marks = Watermarks(warm_min=3, warm_max=5)
    named = replace(waits(B, count=4, idle=4), idle=20)

    assert lacking(named, coming=0, held=20, marks=marks) == 0
    assert excess(named, coming=0, marks=marks) == 0
    assert excess(replace(named, waiting_in=()), coming=0, marks=marks) == 15
