"""What a soak says at its end, and what it exits with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.soak.__main__ import minutes_of
from tests.soak.report import RESULT, SAMPLES, Outcome, sentence, table, write
from tests.soak.verdict import Series, Tolerance, judge

FLAT = 0.0
LEAKING = 60.0


def outcome(*per_hour: float, span_s: int = 1800, wrong: tuple[str, ...] = ()) -> Outcome:
    series = tuple(
        Series(
            name=f"part-{number}: rss",
            unit="MiB",
            tolerance=Tolerance(once=1, per_hour=1),
            points=tuple((float(at), 10 + each * at / 3600) for at in range(0, span_s, 10)),
        )
        for number, each in enumerate(per_hour)
    )
    return Outcome(
        when="today",
        machine="two cores",
        command="soak",
        seed=1,
        minutes=span_s / 60,
        counts={"add ok": 7},
        wrong=wrong,
        rows=tuple(judge(each) for each in series),
        series=series,
    )


def test_a_run_in_which_nothing_grows_is_good() -> None:
    found = outcome(FLAT, FLAT)

    assert found.is_good
    assert sentence(found) == "nothing grows beyond its tolerance"


def test_what_grows_is_named_and_fails_the_run() -> None:
    found = outcome(FLAT, LEAKING)

    assert not found.is_good
    assert sentence(found) == "failed: beyond its tolerance grows part-1: rss"


def test_what_went_wrong_fails_even_a_short_run() -> None:
    found = outcome(FLAT, span_s=60, wrong=("10.0.0.1: one beside other",))

    assert not found.is_good
    assert sentence(found) == "failed: 10.0.0.1: one beside other"


def test_a_short_run_says_that_it_judges_nothing() -> None:
    found = outcome(LEAKING, span_s=60)

    assert found.is_good
    assert sentence(found) == "too short to judge growth"


def test_the_table_has_a_line_for_each_series() -> None:
    lines = table(outcome(FLAT, LEAKING).rows).splitlines()

    assert [line.split(",")[0] for line in lines[1:]] == ["part-0: rss", "part-1: rss"]
    assert lines[1].endswith(" flat")
    assert lines[2].endswith(" grows")


def test_files_hold_every_sample_and_the_outcome(tmp_path: Path) -> None:
    found = outcome(FLAT, LEAKING)

    write(tmp_path / "new", found)

    lines = (tmp_path / "new" / SAMPLES).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "series,unit,at_s,value"
    assert len(lines) == 1 + sum(len(each.points) for each in found.series)
    told = json.loads((tmp_path / "new" / RESULT).read_text(encoding="utf-8"))
    assert told["is_good"] is False
    assert told["rows"][1]["verdict"] == "grows"


@pytest.mark.parametrize("minutes", ["0", "soon", "-1", "nan", "1e9"])
def test_a_soak_of_no_sensible_length_is_refused(minutes: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        minutes_of(minutes)

    assert str(refused.value) == f"minutes {minutes!r}: a number from 0.1 to 10000"


def test_a_soak_may_be_any_sensible_length() -> None:
    assert minutes_of("0.1") == 0.1
    assert minutes_of("10000") == 10_000
