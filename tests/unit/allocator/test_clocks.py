"""When the store's clock is not believed, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.allocator.domain.clocks import ClockGuard, Reading

START = datetime(2026, 1, 1, tzinfo=UTC)


def reading(at_s: float, *, store_ahead_s: float = 0, both_ahead_s: float = 0) -> Reading:
    own = START + timedelta(seconds=at_s + both_ahead_s)
    return Reading(store=own + timedelta(seconds=store_ahead_s), own=own, monotonic_s=at_s)


def test_clocks_that_agree_are_believed() -> None:
    guard = ClockGuard()

    assert [guard.doubt(reading(at_s)) for at_s in (0, 1, 3600)] == [None, None, None]


@pytest.mark.parametrize("ahead_s", [-6, 6])
def test_clocks_that_are_apart_are_not_believed(ahead_s: float) -> None:
    doubt = ClockGuard().doubt(reading(0, store_ahead_s=ahead_s))

    assert doubt == f"the store's clock and this one are {ahead_s:.1f} s apart"


@pytest.mark.parametrize("ahead_s", [-4, 4])
def test_a_small_difference_is_nothing(ahead_s: float) -> None:
    assert ClockGuard().doubt(reading(0, store_ahead_s=ahead_s)) is None


@pytest.mark.parametrize("jump_s", [-60, 60])
def test_a_jump_stops_expiry_for_as_long_as_it_was_wide(jump_s: float) -> None:
    guard = ClockGuard()
    guard.doubt(reading(0))

    jumped = guard.doubt(reading(1, both_ahead_s=jump_s))
    later = guard.doubt(reading(60, both_ahead_s=jump_s))
    over = guard.doubt(reading(61, both_ahead_s=jump_s))

    assert jumped is not None
    assert f"jumped by {jump_s:.1f} s" in jumped
    assert later is not None
    assert "for another 1 s" in later
    assert over is None


def test_a_jump_and_its_repair_do_not_add_up_to_trust() -> None:
    guard = ClockGuard()
    guard.doubt(reading(0))
    guard.doubt(reading(1, store_ahead_s=3600))

    assert guard.doubt(reading(2)) is not None


def test_a_process_that_slept_sees_no_jump() -> None:
    guard = ClockGuard()
    guard.doubt(reading(0))

    assert guard.doubt(reading(10_000)) is None
