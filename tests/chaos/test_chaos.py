"""A few pairs of workload and nemesis, each run a process; `make chaos` runs them all."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from berth.programs import base_environment, python_module
from tests.chaos.nemeses import STEPPED_CLOCK
from tests.support.wall_clocks import NEEDED, library


@pytest.mark.parametrize(
    ("workload", "nemeses", "seconds"),
    [
        pytest.param("stateful", ("kill-allocator", "kill-redis"), 2.0, id="some"),
        pytest.param(
            "turnover",
            ("kill-eni-manager", "kill-agent", "freeze-redis"),
            8.0,
            id="nodes_come_and_go",
            marks=[pytest.mark.long, pytest.mark.timeout(400)],
        ),
        pytest.param(
            "stateful",
            ("cut-off-bus-server", "lose-a-third"),
            4.0,
            id="a_third_of_everything_and_servers_apart",
            marks=[pytest.mark.long, pytest.mark.timeout(400)],
        ),
        pytest.param(
            "releases",
            (STEPPED_CLOCK,),
            4.0,
            id="clocks_are_stepped",
            marks=[
                pytest.mark.long,
                pytest.mark.timeout(400),
                pytest.mark.skipif(library() is None, reason=f"needs {NEEDED}"),
            ],
        ),
    ],
)
def test_no_promise_is_broken_while_parts_die(
    workload: str, nemeses: tuple[str, ...], seconds: float
) -> None:
    rows = _run(workload, nemeses, seconds)

    assert [row["nemesis"] for row in rows] == list(nemeses)
    assert all(row["bites"] for row in rows)


def _run(workload: str, nemeses: tuple[str, ...], seconds: float) -> list[dict[str, Any]]:
    choices = [argument for each in nemeses for argument in ("--nemesis", each)]
    done = subprocess.run(
        [
            *python_module("tests.chaos"),
            *("--json", "--workload", workload, "--seconds", str(seconds), *choices),
        ],
        env=base_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr[-2000:]
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    sys.stdout.write(done.stdout)  # the figures, for who asks for them
    assert done.returncode == 0, [row["violations"] for row in rows]
    return rows
