"""The simulated world: it holds, it repeats itself, and it finds what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = 40
LONG_SEEDS = 600
LONG_S = 900
MUTANT_SEEDS = 120


def simulation(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_promise_is_kept_in_every_world() -> None:
    done = simulation("1", str(SEEDS))

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"{SEEDS} seeds: \d+ ADDs, [1-9]\d* faults", done.stdout)


def test_a_seed_is_the_same_world_every_time() -> None:
    first, again = simulation("7"), simulation("7")

    assert first.stdout == again.stdout
    assert "digest" in first.stdout


@pytest.mark.long
@pytest.mark.timeout(LONG_S)
def test_every_promise_is_kept_in_many_worlds() -> None:
    done = simulation(str(SEEDS + 1), str(LONG_SEEDS))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.timeout(LONG_S)
def test_every_mutant_is_found() -> None:
    done = simulation("mutants", str(MUTANT_SEEDS))

    assert done.returncode == 0, done.stdout + done.stderr
