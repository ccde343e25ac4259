"""A cluster of real agents is switched off and on: kernels, books and cloud agree each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.berth_command import DEMO_S, Berth
from tests.support.leftovers import traces_of

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(2 * DEMO_S)]

SUBNETS = ("--subnet", "subnet-pods-a", "--subnet", "subnet-pods-b")


async def asked(berth: Berth, *words: str) -> Any:
    status, said, complaint = await berth.run(*words, "--json")
    assert status == 0, complaint
    return json.loads(said)


async def pod_enis(berth: Berth) -> dict[str, list[str]]:
    """By node, the subnets of its ENIs that carry pods."""
    return {
        node["node"]: [
            each["subnet"] for each in node["enis"] if each["subnet"].startswith("subnet-pods")
        ]
        for node in await asked(berth, "node", "list")
    }


async def test_pods_keep_their_cluster_from_being_disabled(berth: Berth, run_dir: Path) -> None:
    before = traces_of(run_dir)
    status, _, complaint = await berth.run("demo", "--keep", "--json")
    assert status == 0, complaint
    try:
        pods = [each["pod"] for each in await asked(berth, "pod", "list")]

        status, _, complaint = await berth.run("disable", "--end-retained")

        assert pods, "the demo's pods are still there"
        assert status == 1
        assert f"{len(pods)} pods use addresses of this cluster" in complaint
        assert all(f"{pod} on node-" in complaint for pod in pods)
        assert (await asked(berth, "status"))["record"]["is_enabled"]
    finally:
        await berth.run("down")
    assert traces_of(run_dir) == before


async def test_nodes_give_everything_back_and_are_served_again(
    berth: Berth, run_dir: Path
) -> None:
    before = traces_of(run_dir)
    status, _, complaint = await berth.run("up")
    assert status == 0, complaint
    try:
        served = await pod_enis(berth)

        record = (await asked(berth, "disable"))["cluster"]

        emptied = await pod_enis(berth)
        await asked(berth, "enable", *SUBNETS, "--pods-max", "9")
        status, _, complaint = await berth.run("subnet", "drain", "subnet-pods-b")
        assert status == 0, complaint
        subnets = await asked(berth, "subnet", "list")
    finally:
        await berth.run("down")
    assert all(served.values())
    assert record["operation"]["progress"] == "Succeed"
    assert set(emptied) == set(served)
    assert not any(emptied.values())
    assert [each["subnet"] for each in subnets] == ["subnet-pods-a", "subnet-pods-b"]
    assert traces_of(run_dir) == before
