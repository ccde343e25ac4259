"""Whose word counts on how much a node keeps ready."""

from __future__ import annotations

import pytest

from services.eni_manager.domain.capacities import Capacities
from shared.capacities import CapacityWish
from shared.ids import NodeName

DEFAULTS = CapacityWish(warm_min=3, warm_max=8, release_every_s=0.0)
NOTHING = CapacityWish()
NODE = NodeName("node-1")


def of_node(
    scopes: dict[str, CapacityWish], *, group: str | None = "gpu", own: CapacityWish = NOTHING
) -> CapacityWish:
    return Capacities(scopes=scopes).of_node(DEFAULTS, NODE, group, own)


def test_without_a_word_the_defaults_count() -> None:
    assert of_node({}) == DEFAULTS


@pytest.mark.parametrize(
    ("scopes", "own", "warm_min"),
    [
        (("cluster",), None, 1),
        (("cluster", "group/gpu"), None, 2),
        (("cluster", "group/gpu"), 4, 4),
        (("cluster", "group/gpu", "node/node-1"), 4, 5),
        (("group/other", "node/node-2"), None, 3),
    ],
)
def test_the_narrowest_scope_that_says_something_counts(
    scopes: tuple[str, ...], own: int | None, warm_min: int
) -> None:
    said = {
        "cluster": 1,
        "group/gpu": 2,
        "group/other": 6,
        "node/node-1": 5,
        "node/node-2": 7,
    }

    found = of_node(
        {scope: CapacityWish(warm_min=said[scope]) for scope in scopes},
        own=CapacityWish(warm_min=own),
    )

    assert (found.warm_min, found.warm_max) == (warm_min, 8)


def test_zero_is_a_word() -> None:
    found = of_node({"node/node-1": CapacityWish(warm_min=0, warm_max=0)})

    assert (found.warm_min, found.warm_max) == (0, 0)


def test_a_narrow_maximum_lowers_a_wide_minimum() -> None:
    found = of_node({"node/node-1": CapacityWish(warm_max=1)})

    assert (found.warm_min, found.warm_max) == (1, 1)


def test_a_narrow_minimum_raises_a_wide_maximum() -> None:
    found = of_node({"group/gpu": CapacityWish(warm_min=20)})

    assert (found.warm_min, found.warm_max) == (20, 20)
