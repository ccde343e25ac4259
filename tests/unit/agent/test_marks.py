"""Marks of ENIs: kept, taken over from the agent before, bounded."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from services.node_agent.domain.enis import Eni
from services.node_agent.domain.marks import with_marks
from services.node_agent.domain.wiring import (
    SOURCE_MASK,
    EniLink,
    WiringRules,
    from_eni_rule,
    node_wire,
)
from shared.ids import EniId, SubnetId

RULES = WiringRules(table_base=4000, non_masquerade_cidrs=None)


def eni(number: int, *, is_primary: bool = False) -> EniLink:
    return EniLink(
        eni=Eni(
            eni=EniId(f"eni-{number}"),
            subnet=SubnetId("subnet-a"),
            mac=f"20:90:6f:00:00:{number:02x}",
            primary_address=IPv4Address("10.0.0.10") + number,
            subnet_cidr=IPv4Network("10.0.0.0/24"),
            gateway=IPv4Address("10.0.0.1"),
            is_primary=is_primary,
            is_exclusive=False,
        ),
        link=f"eth{number}",
        index=number,
        mtu=1500,
    )


def test_a_new_eni_gets_the_lowest_free_mark_and_others_keep_theirs() -> None:
    old = replace(eni(2), mark=2)

    marked = with_marks([eni(1, is_primary=True), old, eni(3)], RULES, ())

    assert [each.mark for each in marked] == [0, 2, 1]


def test_an_enis_mark_is_that_which_the_agent_before_gave_its_table() -> None:
    before = with_marks([eni(2), eni(3)], RULES, ())
    left = [from_eni_rule(each, RULES) for each in before]

    after = with_marks([eni(4), eni(3), eni(2)], RULES, left)

    assert [each.mark for each in after] == [3, 2, 1]


def test_an_eni_for_which_no_mark_is_left_carries_nothing() -> None:
    marked = with_marks([eni(n) for n in range(1, SOURCE_MASK + 2)], RULES, ())

    assert sorted(each.mark for each in marked) == list(range(SOURCE_MASK + 1))
    without = next(each for each in marked if not each.mark)
    assert without.link not in node_wire(marked, RULES).links_up
