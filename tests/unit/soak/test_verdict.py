"""What counts as growth, on samples written by hand."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.soak.verdict import Row, Series, Tolerance, Verdict, judge, slope, warm_up_s

HALF_AN_HOUR_S = 1800
EVERY_S = 10
TOLERANCE = Tolerance(once=2.0, per_hour=3.0)


def judged(
    value: Callable[[int], float],
    *,
    span_s: int = HALF_AN_HOUR_S,
    tolerance: Tolerance | None = TOLERANCE,
) -> Row:
    points = tuple((float(at), value(at)) for at in range(0, span_s + 1, EVERY_S))
    return judge(Series(name="rss", unit="MiB", tolerance=tolerance, points=points))


def test_what_stays_as_it_is_is_flat() -> None:
    row = judged(lambda at: 100.0)

    assert row.verdict is Verdict.FLAT
    assert (row.first, row.thirds, row.last) == (100.0, (100.0, 100.0, 100.0), 100.0)
    assert row.per_hour == 0.0


def test_a_steady_leak_grows() -> None:
    row = judged(lambda at: 100.0 + 12.0 * at / 3600)

    assert row.verdict is Verdict.GROWS
    assert row.per_hour == pytest.approx(12.0)
    assert row.grown == pytest.approx(4.0), "twenty minutes are left after the warm-up"
    assert row.allowed == pytest.approx(3.0)


def test_growth_within_the_tolerance_is_flat() -> None:
    assert judged(lambda at: 100.0 + 8.0 * at / 3600).verdict is Verdict.FLAT


def test_what_only_the_warm_up_added_is_no_growth() -> None:
    row = judged(lambda at: 60.0 + 40.0 * min(at, 590) / 590)

    assert row.verdict is Verdict.FLAT
    assert row.thirds[0] < row.thirds[1] == row.thirds[2] == 100.0


def test_what_shrinks_is_flat() -> None:
    row = judged(lambda at: 100.0 - 20.0 * at / 3600)

    assert row.verdict is Verdict.FLAT
    assert row.per_hour == pytest.approx(-20.0)


def test_a_leak_is_seen_through_noise_and_outliers() -> None:
    rng = random.Random(1)

    def leaking(at: int) -> float:
        outlier = 50.0 if at % 170 == 0 else 0.0
        return 100.0 + 12.0 * at / 3600 + rng.gauss(0, 0.5) + outlier

    assert judged(leaking).verdict is Verdict.GROWS


def test_noise_and_outliers_alone_are_no_growth() -> None:
    rng = random.Random(2)

    assert judged(lambda at: rng.gauss(100, 3) + (80.0 if at > 1700 else 0.0)).verdict is (
        Verdict.FLAT
    )


def test_one_descriptor_a_minute_grows() -> None:
    descriptors = Tolerance(once=4, per_hour=4)

    assert judged(lambda at: 30 + at // 60, tolerance=descriptors).verdict is Verdict.GROWS


def test_a_short_run_judges_nothing() -> None:
    assert judged(lambda at: 100.0 + at, span_s=60).verdict is Verdict.TOO_SHORT


def test_what_has_no_tolerance_is_only_told() -> None:
    assert judged(lambda at: float(at), tolerance=None).verdict is Verdict.TOLD


def test_a_long_run_does_not_warm_up_for_ever() -> None:
    assert warm_up_s(900) == 300
    assert warm_up_s(6 * 3600) == 600


def test_a_slope_needs_two_moments() -> None:
    assert slope([(5.0, 1.0)]) == 0.0
    assert slope([(5.0, 1.0), (5.0, 9.0)]) == 0.0
    assert slope([(0.0, 1.0), (2.0, 2.0)]) == 0.5


def test_an_empty_third_repeats_the_one_before() -> None:
    points = ((0.0, 1.0), (900.0, 3.0))

    assert judge(Series(name="x", unit="", tolerance=None, points=points)).thirds == (
        1.0,
        1.0,
        3.0,
    )


def test_a_series_without_a_point_is_refused() -> None:
    with pytest.raises(ValueError, match="series 'x' has no point"):
        judge(Series(name="x", unit="", tolerance=None, points=()))
