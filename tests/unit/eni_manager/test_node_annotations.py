"""What the annotations of a Node and its NodeENIConfig ask for; a wrong one is named."""

from __future__ import annotations

import pytest

from services.eni_manager.kubernetes.node_annotations import (
    DIRECT_ENIS,
    DIRECT_WARM,
    DISABLE,
    IPS_PER_ENI,
    NO_GROUPS,
    NOT_FOLLOWED,
    ROUTE_ENIS,
    ROUTE_WARM,
    Around,
    asked_of,
)
from shared.annotations import NetworkMode
from shared.capacities import CapacityWish

NOTHING = CapacityWish()
LOW, HIGH = ROUTE_WARM


def test_without_annotations_nothing_is_asked() -> None:
    asked = asked_of({}, {"somebody/else": "x"})

    assert (asked.wish, asked.problems) == (NOTHING, ())


def test_both_pairs_and_the_switch_are_read() -> None:
    pairs = {LOW: "2", HIGH: "7", DIRECT_WARM[0]: "0", DIRECT_WARM[1]: "1"}

    asked = asked_of({DISABLE: "yes"}, pairs)

    assert asked.problems == ()
    assert (asked.wish.warm_min, asked.wish.warm_max) == (2, 7)
    assert (asked.wish.whole_min, asked.wish.whole_max) == (0, 1)
    assert asked.wish.is_unmanaged is True


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({LOW: "2"}, f"only together with {HIGH}"),
        ({HIGH: "2"}, f"only together with {LOW}"),
        ({LOW: "8", HIGH: "7"}, "0 to 7"),
        ({LOW: "-1", HIGH: "7"}, "a whole number from 0 to 512"),
        ({LOW: "1.5", HIGH: "7"}, "a whole number from 0 to 512"),
        ({LOW: "", HIGH: "7"}, "a whole number from 0 to 512"),
        ({LOW: "1", HIGH: "513"}, "a whole number from 0 to 512"),
        ({LOW: "١", HIGH: "7"}, "a whole number from 0 to 512"),
    ],
)
def test_a_wrong_pair_changes_nothing_and_is_named(config: dict[str, str], words: str) -> None:
    right = {DIRECT_WARM[0]: "1", DIRECT_WARM[1]: "1"}

    asked = asked_of({}, config | right)

    assert (asked.wish.warm_min, asked.wish.warm_max) == (None, None)
    assert asked.wish.whole_min == 1, "another pair counts all the same"
    [problem] = asked.problems
    assert words in problem
    assert problem.startswith((LOW, HIGH))


@pytest.mark.parametrize(
    ("text", "is_unmanaged"), [("", True), ("Yes", True), ("true", True), ("no", None)]
)
def test_a_switch_is_on_or_off(text: str, is_unmanaged: bool | None) -> None:
    assert asked_of({DISABLE: text}, {}).wish.is_unmanaged is is_unmanaged


def test_a_switch_that_is_neither_is_named() -> None:
    [problem] = asked_of({DISABLE: "maybe"}, {}).problems

    assert problem.startswith(DISABLE)
    assert "yes or no" in problem


SHARED = Around(
    modes=(NetworkMode.SHARED,),
    has_groups=True,
    enis_max=3,
    addresses_max=10,
    addresses_used=12,
)
WHOLE = Around(modes=(NetworkMode.EXCLUSIVE,), enis_max=3, enis_used=2)


def test_limits_of_enis_and_of_their_addresses_are_read() -> None:
    shared = asked_of({NO_GROUPS: "yes"}, {ROUTE_ENIS: "2", IPS_PER_ENI: "6"}, SHARED)
    whole = asked_of({}, {DIRECT_ENIS: "2"}, WHOLE)

    assert shared.problems == whole.problems == ()
    assert (shared.wish.enis_max, shared.wish.addresses_per_eni_max) == (2, 6)
    assert shared.wish.has_no_groups is True
    assert whole.wish.enis_max == 2


@pytest.mark.parametrize(
    ("around", "config", "words"),
    [
        (SHARED, {ROUTE_ENIS: "1"}, "pods use 12 addresses, and 1 ENIs with 10 each hold 10"),
        (SHARED, {IPS_PER_ENI: "3"}, "pods use 12 addresses, and 3 ENIs with 3 each hold 9"),
        (SHARED, {ROUTE_ENIS: "0"}, "1 to 512"),
        (SHARED, {IPS_PER_ENI: "x"}, "a whole number"),
        (SHARED, {DIRECT_ENIS: "2"}, "only in a cluster whose one mode is tke-direct-eni"),
        (
            Around(modes=tuple(NetworkMode)),
            {ROUTE_ENIS: "2"},
            "whose one mode is tke-route-eni",
        ),
        (WHOLE, {DIRECT_ENIS: "1"}, "at least 2, which pods have of this node"),
    ],
)
def test_a_limit_that_cannot_be_kept_changes_nothing_and_is_named(
    around: Around, config: dict[str, str], words: str
) -> None:
    asked = asked_of({}, config, around)

    assert asked.wish == NOTHING
    [problem] = asked.problems
    assert problem.startswith(tuple(config))
    assert words in problem


def test_two_limits_are_held_against_the_pods_together() -> None:
    asked = asked_of({}, {ROUTE_ENIS: "2", IPS_PER_ENI: "5"}, SHARED)

    assert (asked.wish.enis_max, asked.wish.addresses_per_eni_max) == (None, 5)
    assert "2 ENIs with 5 each hold 10" in asked.problems[0]


def test_groups_are_taken_off_only_where_it_is_known_which_come_back() -> None:
    asked = asked_of({NO_GROUPS: "yes"}, {}, Around())

    assert asked.wish == NOTHING
    assert "security_groups" in asked.problems[0]


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_what_is_not_followed_is_said(name: str) -> None:
    for node, config in (({name: "1"}, {}), ({}, {name: "1"})):
        [problem] = asked_of(node, config).problems
        assert problem.startswith(name)
