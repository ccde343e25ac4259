"""Declared security groups: added before removed."""

from __future__ import annotations

import pytest

from services.eni_manager.domain.groups import GROUPS_PER_ENI_MAX, group_steps


def test_the_same_groups_in_another_order_are_left_alone() -> None:
    assert group_steps(["sg-1", "sg-2"], ["sg-2", "sg-1"]) == []


def test_new_groups_come_before_old_ones_go() -> None:
    steps = group_steps(["sg-old", "sg-both"], ["sg-both", "sg-new"])

    assert [(it.is_addition, it.groups) for it in steps] == [
        (True, ("sg-new",)),
        (False, ("sg-old",)),
    ]


@pytest.mark.parametrize("old", range(GROUPS_PER_ENI_MAX + 1))
@pytest.mark.parametrize("new", range(1, GROUPS_PER_ENI_MAX + 1))
@pytest.mark.parametrize("both", range(GROUPS_PER_ENI_MAX + 1))
def test_an_eni_never_has_more_than_may_be_nor_loses_what_it_keeps(
    old: int, new: int, both: int
) -> None:
    if old + both > GROUPS_PER_ENI_MAX or new + both > GROUPS_PER_ENI_MAX:
        return
    kept = [f"sg-both-{at}" for at in range(both)]
    current = [*(f"sg-old-{at}" for at in range(old)), *kept]
    declared = [*kept, *(f"sg-new-{at}" for at in range(new))]

    held = list(current)
    for step in group_steps(current, declared):
        if step.is_addition:
            held += step.groups
        else:
            held = [each for each in held if each not in step.groups]
        assert len(held) <= GROUPS_PER_ENI_MAX
        assert set(kept) <= set(held)
        assert held, "an ENI without a group lets everything through"

    assert set(held) == set(declared)
