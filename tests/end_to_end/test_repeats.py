"""The whole demo again and again, and as somebody who is not root."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from berth.programs import base_environment, python_module
from shared.kernel.syscalls import CLONE_NEWUSER, unshare
from tests.support.berth_command import DEMO_S, Berth
from tests.support.leftovers import traces_of

RUNS = 20
ORDINARY_USER = 1000

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(RUNS * DEMO_S)]


async def test_twenty_demos_in_a_row_end_the_same_and_leave_nothing(
    berth: Berth, run_dir: Path
) -> None:
    before = traces_of(run_dir)
    outcomes = set()
    counted = set()

    for _ in range(RUNS):
        status, told, said = await berth.run("demo", "--json")
        summary = json.loads(told)
        outcomes.add((status, said, summary["is_kept"]))
        counted.add(frozenset((each["step"], each["is_kept"]) for each in summary["checks"]))
        assert traces_of(run_dir) == before

    assert outcomes == {(0, "", True)}
    assert len(counted) == 1


def become_ordinary() -> None:
    """In the child, before it executes: a user with a number and no rights of any kind.

    The number stands for this process' own user, so that what this user may read it may too.
    """
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{ORDINARY_USER} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{ORDINARY_USER} {group} 1", encoding="ascii")


def test_an_ordinary_user_sees_the_same(run_dir: Path) -> None:
    before = traces_of(run_dir)
    who = subprocess.run(
        ["cat", "/proc/self/status"],
        preexec_fn=become_ordinary,
        capture_output=True,
        text=True,
        check=True,
    )
    demo = subprocess.run(
        [*python_module("berth.main"), "demo", "--json", "--run-dir", str(run_dir)],
        preexec_fn=become_ordinary,
        env=base_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )

    assert f"Uid:\t{ORDINARY_USER}\t" in who.stdout
    assert "CapEff:\t0000000000000000\n" in who.stdout
    assert (demo.returncode, demo.stderr) == (0, "")
    assert json.loads(demo.stdout)["is_kept"]
    assert traces_of(run_dir) == before
