"""Words about a cluster that make no sense: one line that names field, value and allowed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from berth.main import main

ENABLE = ("enable", "--subnet", "subnet-a", "--pods-max", "30")


def said(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    monkeypatch.setattr(sys, "argv", ["berth", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((*ENABLE, "--mode", "bridge"), "--mode: 'bridge' is not allowed; allowed: shared or"),
        (("enable", "--subnet", "a", "--pods-max", "30"), "--subnet: 'a' is not allowed"),
        (
            (*ENABLE, "--subnet", "subnet-a"),
            "--subnet: 'subnet-a' is not allowed; allowed: each",
        ),
        (("enable", "--subnet", "subnet-a", "--pods-max", "0"), "--pods-max: 0 is not allowed"),
        (("enable", "--subnet", "subnet-a", "--pods-max", "5000"), "allowed: 1 to 4096"),
        (("subnet", "add", "10.0.0.0/24"), "SUBNET: '10.0.0.0/24' is not allowed"),
        (("subnet", "cordon", "Subnet-A"), "SUBNET: 'Subnet-A' is not allowed"),
        (("subnet", "drain", ""), "SUBNET: '' is not allowed"),
        (("subnet", "remove", "subnet a"), "SUBNET: 'subnet a' is not allowed"),
        (("subnet", "set", "subnet-a"), "options: 'none' is not allowed; allowed: --[no-]"),
    ],
)
def test_bad_words_are_one_line_with_what_is_allowed(
    words: tuple[str, ...],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, complaint = said((*words, "--run-dir", str(tmp_path)), monkeypatch, capsys)

    assert status == 1
    assert line in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("enable", "--pods-max", "30"), "--subnet"),
        (("enable", "--subnet", "subnet-a"), "--pods-max"),
        (("enable", "--subnet", "subnet-a", "--pods-max", "many"), "--pods-max"),
        ((*ENABLE, "--wait-s", "-1"), "--wait-s"),
        (("disable", "--wait-s", "soon"), "--wait-s"),
        (("subnet", "add"), "SUBNET"),
    ],
)
def test_what_is_missing_or_no_number_is_named(
    words: tuple[str, ...],
    field: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, complaint = said(words, monkeypatch, capsys)

    assert status == 2
    assert field in complaint


def test_without_a_cluster_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, complaint = said((*ENABLE, "--run-dir", str(tmp_path)), monkeypatch, capsys)

    assert status == 1
    assert "nothing runs in" in complaint
