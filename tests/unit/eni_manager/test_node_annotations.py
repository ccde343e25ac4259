"""What the annotations of a Node and its NodeENIConfig ask for; a wrong one is named."""

from __future__ import annotations

import pytest

from services.eni_manager.kubernetes.node_annotations import (
    DIRECT_WARM,
    DISABLE,
    NOT_FOLLOWED,
    ROUTE_WARM,
    asked_of,
)
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


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_what_is_not_followed_is_said(name: str) -> None:
    for node, config in (({name: "1"}, {}), ({}, {name: "1"})):
        [problem] = asked_of(node, config).problems
        assert problem.startswith(name)
