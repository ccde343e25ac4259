"""How long a subnet lasts."""

from __future__ import annotations

import math

import pytest

from services.eni_manager.domain.exhaustion import Decline


def looked(*frees: int, every_s: float = 10.0) -> Decline:
    decline = Decline(free=frees[0], at_s=0.0)
    for at, free in enumerate(frees[1:], 1):
        decline = decline.seen(free, at * every_s)
    return decline


def test_a_subnet_whose_addresses_do_not_fall_lasts_for_ever() -> None:
    assert looked(100, 100, 120).lasts_s == math.inf


def test_a_steady_fall_is_told_in_seconds() -> None:
    steady = looked(*range(10_000, 4_000, -10))  # one a second, for long

    assert steady.lasts_s == pytest.approx(4_010, rel=0.01)


def test_a_burst_is_forgotten() -> None:
    burst = looked(1_000, 500)
    after = looked(1_000, 500, *(500 for _ in range(360)))

    assert burst.lasts_s < 3_600
    assert after.lasts_s > 10 * burst.lasts_s


def test_an_empty_subnet_lasts_no_more() -> None:
    assert looked(10, 0).lasts_s == 0


def test_two_looks_at_one_moment_change_nothing() -> None:
    decline = Decline(free=5, at_s=1.0)

    assert decline.seen(4, 1.0) == decline
