"""A cluster as its operator has it: the commands themselves, against real services.

The cloud is wireless here, so no node is in the way of what is asked.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from berth.playground.playground import Playground, StartOptions
from tests.support.berth_command import Berth

PODS_A, PODS_B = "subnet-pods-a", "subnet-pods-b"
PATIENCE_S = 60.0


@pytest.fixture
async def berth() -> AsyncIterator[Berth]:
    """Beside a playground that `berth up` has enabled."""
    with tempfile.TemporaryDirectory(prefix="berth-") as folder:
        run_dir = Path(folder) / "run"
        playground = await Playground.start(
            run_dir=run_dir, options=StartOptions(wireless=True)
        )
        command = Berth(run_dir=run_dir, started=[])
        try:
            yield command
        finally:
            for process in command.started:
                if process.returncode is None:
                    process.kill()
                await process.wait()
            await playground.stop()


def enabling(*changes: str) -> tuple[str, ...]:
    both = ("--subnet", PODS_A, "--subnet", PODS_B)
    return ("enable", *both, "--pods-max", "27", "--fixed-ip", *changes)


@pytest.mark.long
async def test_a_cluster_is_changed_and_switched_off_and_on(berth: Berth) -> None:
    status, said, _ = await berth.run("status", "--json")
    shown = json.loads(said)
    assert (status, shown["record"]["is_enabled"]) == (0, True)
    assert shown["replicas"]["berth-allocator"] == 2
    assert shown["replicas"]["berth-eni-manager"] == 1
    assert {each["subnet"]: each["state"] for each in shown["subnets"]} == {
        PODS_A: "open",
        PODS_B: "open",
    }

    status, said, _ = await berth.run(*enabling())
    assert (status, "enable: Succeed" in said) == (0, True), "the same words again"
    status, _, complaint = await berth.run(*enabling("--no-fixed-ip"))
    assert status == 1
    assert "fixed-IP support is on" in complaint
    assert "cannot become off" in complaint

    status, said, _ = await berth.run("subnet", "set", PODS_A, "--reclaims-under-pressure")
    assert (status, said) == (0, f"{PODS_A} is open, reclaims under pressure\n")
    status, said, _ = await berth.run("subnet", "cordon", PODS_B)
    assert (status, said) == (0, f"{PODS_B} is cordoned\n")
    status, _, complaint = await berth.run("subnet", "remove", PODS_B)
    assert status == 1
    assert f"`berth subnet drain {PODS_B}` comes first" in complaint
    status, _, complaint = await berth.run("subnet", "add", "subnet-nodes-a")
    assert status == 1
    assert "subnet-nodes-a is not empty: 2 addresses are not ours: 10.0.1.11" in complaint

    disabling = await berth.start("disable")
    assert disabling.stdout is not None
    assert b"disable: Running" in await disabling.stdout.readline()
    disabling.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE_S):
        _, stopped = await disabling.communicate()
    assert disabling.returncode == 130
    assert b"it goes on in the services" in stopped

    status, said, _ = await berth.run("disable")
    assert (status, "disable: Succeed" in said) == (0, True)
    status, _, complaint = await berth.run("subnet", "add", PODS_A)
    assert status == 1
    assert "the cluster is not enabled" in complaint

    status, said, _ = await berth.run(*enabling("--no-fixed-ip", "--json"))
    record = json.loads(said)["cluster"]
    assert (status, record["has_fixed_ips"], record["is_enabled"]) == (0, False, True)
