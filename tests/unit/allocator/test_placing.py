"""Where a pod can have its address, and the reason why not, with its numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest

from services.allocator.domain.leases import Lease
from services.allocator.kubernetes.placing import Misfit, Need, Place, Placing, Score
from shared.addresses import AddressState
from shared.clusters import SubnetState
from shared.ids import EniId, Generation, Identity, NodeName, SubnetId
from shared.messages.vacancies import EnisInSubnet, NodeVacancy, SubnetVacancy

HERE, THERE = NodeName("node-1"), NodeName("node-2")
A, B = SubnetId("subnet-a"), SubnetId("subnet-b")
LEASE = Lease(
    identity=Identity("shop", "web-0", "berth"),
    address=IPv4Address("10.0.0.9"),
    state=AddressState.RETAINED,
    generation=Generation(1),
    subnet=A,
    node=THERE,
    eni=EniId("eni-9"),
    moving_to=None,
    pod_uid=None,
    attachment=None,
    since=datetime(2026, 1, 1, tzinfo=UTC),
    expires_after=None,
)
NEW = Need(is_exclusive=False)
BACK = Need(is_exclusive=False, lease=LEASE)
WHOLE = Need(is_exclusive=True)
WHOLE_BACK = Need(is_exclusive=True, lease=LEASE)


def subnet(
    name: SubnetId = A,
    *,
    zone: str = "zone-1",
    free: int = 12,
    state: SubnetState = SubnetState.OPEN,
) -> SubnetVacancy:
    return SubnetVacancy(
        subnet=name,
        zone=zone,
        cidr=IPv4Network("10.0.0.0/24"),
        free=free,
        total=250,
        state=state,
    )


def node(
    *,
    zone: str | None = "zone-1",
    enis: int = 0,
    idle: int = 0,
    whole_idle: int = 0,
    within: tuple[EnisInSubnet, ...] = (),
    addresses: int | None = None,
    addresses_max: int = 20,
    problem: str | None = None,
) -> NodeVacancy:
    """Two ENIs of ten addresses fit."""
    return NodeVacancy(
        node=HERE,
        zone=zone,
        enis=enis,
        enis_max=2,
        addresses=sum(it.addresses for it in within) if addresses is None else addresses,
        addresses_max=addresses_max,
        idle=idle,
        whole_idle=whole_idle,
        within=within,
        problem=problem,
    )


def enis(in_subnet: SubnetId = A, *, addresses: int = 4, count: int = 1) -> EnisInSubnet:
    return EnisInSubnet(
        subnet=in_subnet, enis=count, addresses=addresses, addresses_max=10 * count
    )


def judge(need: Need, vacancy: NodeVacancy | None, *subnets: SubnetVacancy) -> Score | Misfit:
    known = {SubnetId(each.subnet): each for each in subnets or (subnet(),)}
    place = None if vacancy is None else Place(vacancy)
    return Placing(need, known).judge(HERE, place)


@pytest.mark.parametrize(
    ("need", "vacancy", "subnets", "score"),
    [
        pytest.param(NEW, node(idle=1), (), Score.HAS_ROOM, id="an-idle-address"),
        pytest.param(
            NEW, node(enis=2, within=(enis(),)), (), Score.MAKES_ROOM, id="one-is-assigned"
        ),
        pytest.param(NEW, node(), (), Score.NEEDS_ENI, id="an-eni-is-made"),
        pytest.param(
            NEW,
            node(enis=2, within=(enis(A, addresses=10), enis(B))),
            (subnet(), subnet(B)),
            Score.MAKES_ROOM,
            id="on-the-other-eni",
        ),
        pytest.param(
            BACK, node(enis=2, within=(enis(),)), (), Score.HAS_ROOM, id="it-fits-on-an-eni"
        ),
        pytest.param(
            BACK,
            node(enis=2, idle=1, within=(enis(addresses=10),)),
            (),
            Score.MAKES_ROOM,
            id="stock-makes-room",
        ),
        pytest.param(BACK, node(), (), Score.NEEDS_ENI, id="an-eni-in-its-subnet"),
        pytest.param(
            BACK,
            node(enis=1, within=(enis(),)),
            (subnet(free=0),),
            Score.HAS_ROOM,
            id="it-takes-none-of-the-subnet",
        ),
        pytest.param(BACK, node(), (subnet(B),), Score.UNKNOWN, id="subnet-not-ours"),
        pytest.param(WHOLE, node(enis=2, whole_idle=1), (), Score.HAS_ROOM, id="an-idle-eni"),
        pytest.param(WHOLE, node(enis=1), (), Score.NEEDS_ENI, id="an-eni-of-its-own"),
        pytest.param(WHOLE_BACK, node(enis=1), (), Score.HAS_ROOM, id="its-eni-fits"),
        pytest.param(
            WHOLE_BACK, node(enis=2, whole_idle=1), (), Score.MAKES_ROOM, id="its-eni-replaces"
        ),
        pytest.param(
            replace(NEW, nominated=(A,)),
            node(idle=1, enis=2, within=(enis(addresses=10),)),
            (),
            Score.MAKES_ROOM,
            id="nominated-maybe-idle",
        ),
    ],
)
def test_a_node_suits(
    need: Need,
    vacancy: NodeVacancy,
    subnets: tuple[SubnetVacancy, ...],
    score: Score,
) -> None:
    assert judge(need, vacancy, *subnets) is score


def test_the_node_that_holds_the_lease_suits_best_whatever_else_is_known_of_it() -> None:
    full = node(enis=2, within=(enis(addresses=20, count=2),))

    here = judge(replace(BACK, lease=replace(LEASE, node=HERE)), full, subnet(free=0))
    unknown = judge(replace(BACK, lease=replace(LEASE, node=HERE)), None)

    assert here is unknown is Score.HOLDS_LEASE == max(Score)


def test_so_does_the_node_that_it_is_on_its_way_to() -> None:
    moving = replace(LEASE, state=AddressState.MOVING, moving_to=HERE)

    assert judge(replace(BACK, lease=moving), node()) is Score.HOLDS_LEASE


@pytest.mark.parametrize(
    ("need", "vacancy", "subnets", "words", "is_for_good"),
    [
        pytest.param(
            BACK,
            node(zone="zone-2"),
            (),
            [
                "10.0.0.9 is of subnet-a (zone-1, 12 of 250 free)",
                "zone-2",
                "add nodes in zone-1",
            ],
            True,
            id="another-zone",
        ),
        pytest.param(
            BACK,
            node(enis=2, within=(enis(addresses=20, count=2),)),
            (),
            ["ENIs 2/2 used (2 in subnet-a with 20/20)", "addresses 20/20 used"],
            False,
            id="its-enis-are-full",
        ),
        pytest.param(
            BACK,
            node(enis=2, idle=3, within=(enis(B, addresses=7, count=2),)),
            (subnet(), subnet(B)),
            [
                "ENIs 2/2 used (2 in subnet-b with 7/20), addresses 4/20 used",
                "remove pods or add nodes",
            ],
            False,
            id="no-eni-can-be-there",
        ),
        pytest.param(
            BACK,
            node(enis=1, within=(enis(B),)),
            (subnet(state=SubnetState.CORDONED), subnet(B)),
            ["12 of 250 free, cordoned"],
            False,
            id="no-new-eni-in-a-cordoned-subnet",
        ),
        pytest.param(
            NEW,
            node(enis=2, within=(enis(addresses=20, count=2),), problem="quota"),
            (),
            ["ENIs 2/2 used", "addresses 20/20 used; quota", "add nodes"],
            False,
            id="full",
        ),
        pytest.param(
            NEW,
            node(enis=1, within=(enis(),)),
            (subnet(free=0), subnet(B, free=1)),
            ["subnet-a (zone-1, 0 of 250 free), subnet-b (zone-1, 1 of 250 free)"],
            False,
            id="subnets-are-full",
        ),
        pytest.param(
            NEW,
            node(enis=1, addresses_max=4, within=(enis(),)),
            (),
            ["addresses 4/4 used"],
            False,
            id="the-pod-maximum",
        ),
        pytest.param(
            NEW,
            node(zone="zone-3"),
            (),
            ["zone-3 has no container subnet"],
            True,
            id="no-subnet",
        ),
        pytest.param(NEW, node(zone=None), (), ["zone is not known"], True, id="no-zone"),
        pytest.param(
            replace(NEW, nominated=(B,)),
            node(idle=1, within=(enis(),)),
            (subnet(), subnet(B, zone="zone-2")),
            ["none of the subnets that the pod nominates", "subnet-b (zone-2,"],
            True,
            id="nominated-elsewhere",
        ),
        pytest.param(
            WHOLE, node(enis=2), (), ["an ENI of its own", "ENIs 2/2 used"], False, id="no-slot"
        ),
        pytest.param(
            WHOLE_BACK,
            node(enis=2),
            (),
            ["no ENI for", "ENIs 2/2"],
            False,
            id="no-slot-for-its-eni",
        ),
        pytest.param(NEW, None, (), ["agent has not registered"], True, id="no-agent"),
    ],
)
def test_a_node_does_not_suit_and_says_why_in_numbers(
    need: Need,
    vacancy: NodeVacancy | None,
    subnets: tuple[SubnetVacancy, ...],
    words: list[str],
    is_for_good: bool,
) -> None:
    verdict = judge(need, vacancy, *subnets)

    assert isinstance(verdict, Misfit)
    assert [word for word in words if word not in verdict.reason] == [], verdict.reason
    assert verdict.is_for_good is is_for_good
