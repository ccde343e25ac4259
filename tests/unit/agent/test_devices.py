"""Slots of a device: more at once, fewer slowly, never fewer than what is held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.node_agent.domain.devices import Slots, Supply

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOLD = timedelta(seconds=60)
NONE: frozenset[str] = frozenset()


def supply(in_use: int, ready: int, obtainable: int, total: int = 10) -> Supply:
    return Supply(total=total, in_use=in_use, ready=ready, obtainable=obtainable)


def shown(slots: Slots, what: Supply, after_s: float, taken: frozenset[str] = NONE) -> int:
    now = NOW + timedelta(seconds=after_s)
    slots.show(what, slots.due(what, now), taken)
    return len(slots.healthy)


def test_healthy_is_what_is_held_and_what_can_still_be_got_within_the_quota() -> None:
    assert supply(2, 3, 1).healthy == 6
    assert supply(2, 3, 100).healthy == 10
    assert supply(8, 4, 0).healthy == 12, "a quota that shrank takes nothing from pods"


def test_more_is_shown_at_once_and_fewer_only_after_the_hold() -> None:
    slots = Slots(HOLD)

    assert shown(slots, supply(0, 3, 1), 0) == 4
    assert shown(slots, supply(0, 3, 5), 1) == 8
    assert shown(slots, supply(0, 3, 0), 2) == 8
    assert shown(slots, supply(0, 5, 0), 30) == 8
    assert shown(slots, supply(0, 3, 0), 61) == 8
    assert shown(slots, supply(0, 3, 0), 62) == 5, "the most there was in the hold"
    assert shown(slots, supply(0, 3, 0), 200) == 5
    assert shown(slots, supply(0, 3, 0), 260) == 3


def test_a_moment_of_fewer_changes_nothing() -> None:
    slots = Slots(HOLD)
    shown(slots, supply(0, 3, 5), 0)

    assert shown(slots, supply(0, 3, 0), 1) == 8
    assert shown(slots, supply(0, 3, 5), 59) == 8
    assert shown(slots, supply(0, 3, 0), 62) == 8


def test_a_slot_that_a_pod_has_stays_whatever_shrinks() -> None:
    slots = Slots(HOLD)
    shown(slots, supply(0, 10, 0), 0)
    taken = frozenset({"slot-0009", "slot-0007"})

    shown(slots, supply(0, 1, 0, total=2), 1, taken)
    shown(slots, supply(0, 1, 0, total=2), 61, taken)

    assert slots.healthy == taken
    assert slots.all == ("slot-0000", "slot-0001", "slot-0007", "slot-0009")


supplies = st.builds(
    supply,
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(0, 12),
    total=st.integers(0, 12),
)


@given(st.lists(st.tuples(supplies, st.sets(st.integers(0, 11)), st.floats(0, 100))))
def test_slots_of_pods_and_as_many_as_are_held_are_always_healthy(
    steps: list[tuple[Supply, set[int], float]],
) -> None:
    slots, now = Slots(HOLD), NOW
    for what, numbers, later_s in steps:
        now += timedelta(seconds=later_s)
        taken = frozenset(f"slot-{number:04d}" for number in numbers) & slots.healthy
        healthy = slots.due(what, now)
        before = slots.healthy
        takes_away = slots.takes_away(what, healthy)

        slots.show(what, healthy, taken if takes_away else NONE)

        assert len(slots.healthy) >= what.in_use + what.ready
        assert slots.healthy <= set(slots.all)
        assert taken <= slots.healthy
        if not takes_away:
            assert before <= slots.healthy
