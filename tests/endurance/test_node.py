"""A node after many pods, and after many deaths of its agent: nothing is left, all agree."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from berth.programs import base_environment, python_module
from tests.endurance.kills import WORKERS

pytestmark = pytest.mark.kernel

RSS_MIB_MAX = 8.0  # more than before: what an allocator keeps, far below a page a pod


@pytest.mark.parametrize(
    "cycles",
    [
        pytest.param(100, id="some"),
        pytest.param(
            10_000, id="ten_thousand", marks=[pytest.mark.long, pytest.mark.timeout(600)]
        ),
    ],
)
def test_cycles_of_add_and_del_leave_nothing(cycles: int) -> None:
    told = _run("tests.endurance.cycles", str(cycles), "16")

    before, after = told["before"], told["after"]
    assert after.pop("rss_mib") - before.pop("rss_mib") < RSS_MIB_MAX, told
    assert after == before, told


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(3, id="some"),
        pytest.param(200, id="two_hundred", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_a_killed_agent_leaves_kernel_book_and_reports_as_one(kills: int) -> None:
    told = _run("tests.endurance.kills", str(kills), "1")

    assert told["kept"] == WORKERS
    assert told["after"]["attachments"] == WORKERS
    assert told["after"]["spooled"] == 0
    assert told["calls"]["ADD done"] >= kills, "too little happened to prove anything"


@pytest.mark.long
def test_a_killed_agent_whose_book_is_lost_each_time_leaves_all_as_one() -> None:
    told = _run("tests.endurance.kills", "12", "2", "lost")

    assert told["kept"] == WORKERS
    assert told["after"]["attachments"] == WORKERS
    assert told["after"]["spooled"] == 0
    assert told["calls"]["ADD done"] >= 12, "too little happened to prove anything"


def _run(module: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [*python_module(module), *arguments],
        env=base_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sys.stdout.write(done.stdout)  # the figures, for who asks for them
    told: dict[str, Any] = json.loads(done.stdout)
    return told
