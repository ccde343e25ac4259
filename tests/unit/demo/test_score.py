"""The score and how it is told: one promise broken is a demo that failed."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from berth.demo.checks import Score
from berth.demo.report import ConsoleReport, show_summary
from berth.demo.run import Outcome


def scored(*kept: bool) -> Score:
    score = Score()
    for number, is_kept in enumerate(kept):
        score.add("network", f"claim {number}", is_kept, "why [not]")
    return score


def told(score: Score) -> str:
    text = StringIO()
    show_summary(ConsoleReport(Console(file=text, width=100)), score, seconds=2.0)
    return text.getvalue()


def outcome(score: Score, *, was_interrupted: bool = False) -> Outcome:
    return Outcome(score=score, seconds=2.0, was_interrupted=was_interrupted)


def test_the_status_is_zero_only_when_every_promise_was_kept() -> None:
    assert outcome(scored(True, True)).status == 0
    assert outcome(scored(True, False)).status == 1
    assert outcome(scored(True), was_interrupted=True).status == 130


def test_a_demo_that_checked_nothing_has_shown_nothing() -> None:
    assert outcome(scored()).status == 1


def test_the_summary_counts_by_step_and_names_what_was_not_kept() -> None:
    text = told(scored(True, False))

    assert "1 of 2" in text
    assert "FAIL" in text
    assert "claim 1 (why [not])" in text
    assert "NOT everything was as promised: 2 checks in 2.0 s" in text


def test_the_summary_says_so_when_all_is_well() -> None:
    text = told(scored(True, True))

    assert "everything was as promised: 2 checks" in text
    assert "FAIL" not in text


def test_programs_get_every_check() -> None:
    summary = outcome(scored(True, False)).summary()

    assert summary["is_kept"] is False
    assert summary["checks"] == [
        {"step": "network", "claim": "claim 0", "is_kept": True, "detail": "why [not]"},
        {"step": "network", "claim": "claim 1", "is_kept": False, "detail": "why [not]"},
    ]
