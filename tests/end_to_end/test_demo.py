"""``berth demo`` as a whole: everything it promises, and nothing left of it afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from berth.playground.state import read_state
from tests.support.berth_command import DEMO_S, Berth
from tests.support.leftovers import traces_of
from tests.support.paths import EXAMPLE

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(2 * DEMO_S)]


async def heard(process: asyncio.subprocess.Process, words: str) -> None:
    """Wait until the demo has said so."""
    assert process.stdout is not None, "asked for"
    async with asyncio.timeout(DEMO_S):
        while words not in (line := (await process.stdout.readline()).decode()):
            assert line, f"the demo ended without saying {words!r}"


async def test_every_promise_is_kept_and_nothing_is_left(berth: Berth, run_dir: Path) -> None:
    before = traces_of(run_dir)

    status, told, said = await berth.run("demo", "--json")

    summary = json.loads(told)
    failed = [check for check in summary["checks"] if not check["is_kept"]]
    assert (status, failed, said) == (0, [], "")
    assert summary["is_kept"]
    assert {check["step"] for check in summary["checks"]} == {
        "nodes and ENIs",
        "pods and addresses",
        "network",
        "fixed address",
        "Immediate address",
        "ENIs of pods",
        "the books agree",
    }
    assert traces_of(run_dir) == before


def later(moment: str) -> object:
    return pytest.param(moment, marks=pytest.mark.long)


@pytest.mark.parametrize(
    "moment",
    [
        later("1. Start"),
        "bus:",
        later("eni_manager:"),
        later("2. Nodes"),
        later("busybox-0 runs on"),
        "busybox-1 is deleted",
        later("is given to nobody"),
    ],
)
async def test_ctrl_c_leaves_nothing(berth: Berth, run_dir: Path, moment: str) -> None:
    before = traces_of(run_dir)
    process = await berth.start("demo")
    await heard(process, moment)

    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(DEMO_S):
        await process.communicate()

    assert process.returncode == 130
    assert traces_of(run_dir) == before


@pytest.mark.long
async def test_a_killed_demo_takes_its_pods_and_agents_along(
    berth: Berth, run_dir: Path
) -> None:
    process = await berth.start("demo")
    await heard(process, "busybox-1 runs on")

    process.kill()
    await process.communicate()

    async with asyncio.timeout(DEMO_S):
        while traces_of(run_dir).processes:  # noqa: ASYNC110 - they are not our children
            await asyncio.sleep(0.1)
    status, _, said = await berth.run("demo", "--json")
    assert (status, said) == (0, "")


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("allocator-1", "busybox-0 runs on"),
        ("eni-manager", "busybox-0 runs on"),
        ("agent-node-1", "busybox-0 runs on"),
        ("agent-node-2", "busybox-1 is deleted"),
    ],
)
async def test_a_killed_service_changes_nothing_of_what_is_promised(
    berth: Berth, run_dir: Path, name: str, moment: str
) -> None:
    process = await berth.start("demo")
    await heard(process, moment)

    child = next(each for each in read_state(run_dir).children if each.name == name)
    os.kill(child.pid, signal.SIGKILL)
    await heard(process, "   everything was as promised")

    async with asyncio.timeout(DEMO_S):
        assert await process.wait() == 0


@pytest.mark.long
async def test_kept_up_it_can_be_asked_and_taken_down(berth: Berth, run_dir: Path) -> None:
    before = traces_of(run_dir)

    status, told, said = await berth.run("demo", "--keep")
    _, pods, _ = await berth.run("pod", "list", "--json")
    _, why, _ = await berth.run("pod", "why", "default/busybox-1")
    clean, compared, _ = await berth.run("doctor", "--json")
    agent = next(it for it in read_state(run_dir).children if it.name == "agent-node-1")
    os.kill(agent.pid, signal.SIGSTOP)
    unread, _, unread_why = await berth.run("doctor", "--settle", "0")
    os.kill(agent.pid, signal.SIGCONT)
    down, _, _ = await berth.run("down")
    away, _, away_why = await berth.run("doctor")

    assert (status, said) == (0, "")
    assert "berth down" in told
    named = [pod["pod"] for pod in json.loads(pods)]
    assert {"default/busybox-0", "default/busybox-1", "default/busybox-2"} <= set(named)
    assert "default/busybox-1 has 10.0." in why
    assert (clean, json.loads(compared)["findings"]) == (0, [])
    assert (unread, away) == (2, 2)
    assert "could not read the agent of node node-1" in unread_why
    assert "could not look" in away_why
    assert down == 0
    assert traces_of(run_dir) == before


async def test_a_manifest_that_cannot_be_used_is_one_line_and_starts_nothing(
    berth: Berth, run_dir: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "bad.yaml"
    example = EXAMPLE.read_text()
    manifest.write_text(example.replace("policy: Never", "policy: Sometimes"))

    status, told, said = await berth.run("demo", str(manifest))

    assert status == 1
    assert told == ""
    assert said.count("\n") == 1
    assert "'Sometimes' is not allowed; allowed: Immediate or Never" in said
    assert not run_dir.exists()


@pytest.mark.long
async def test_a_manifest_with_a_deployment_and_a_pod_runs(
    berth: Berth, tmp_path: Path
) -> None:
    manifest = tmp_path / "two.yaml"
    manifest.write_text(TWO_KINDS)

    status, told, said = await berth.run("demo", str(manifest), "--json")

    checks = json.loads(told)["checks"]
    assert (status, said) == (0, "")
    assert not [check for check in checks if check["step"] == "fixed address"]
    assert len([c for c in checks if c["claim"].startswith("same node: ")]) >= 2


TWO_KINDS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
---
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: tools}
spec: {containers: [{name: main, image: busybox}]}
"""
