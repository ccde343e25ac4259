"""A cluster that comes from elsewhere: its pods find the addresses that they had there."""

from __future__ import annotations

import json
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml

from berth.demo.placement import home_places
from berth.demo.stage import Stage
from berth.manifests.pods import pods_of
from berth.manifests.reader import parse_manifest
from berth.playground.playground import Playground
from tests.support.berth_command import Berth
from tests.support.paths import EXAMPLE

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(180)]


def dump(addresses: dict[str, str]) -> str:
    items = [
        {
            "apiVersion": "networking.tke.cloud.tencent.com/v1",
            "kind": "VpcIPClaim",
            "metadata": {"namespace": "default", "name": name},
            "spec": {"type": "tke-route-eni", "deletePolicy": "Never"},
            "status": {"vpcIP": address},
        }
        for name, address in addresses.items()
    ]
    return yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items})


async def test_an_imported_claims_pod_gets_its_address(
    playground: Playground, tmp_path: Path
) -> None:
    berth = Berth(run_dir=playground.state.run_dir, started=[])
    spec = pods_of(parse_manifest(EXAMPLE.read_text()), random.Random(4))[0]
    file = tmp_path / "claims.yaml"
    file.write_text(dump({spec.name.name: "10.0.101.200", "elsewhere": "192.168.0.9"}))

    async def told(*options: str) -> dict[str, object]:
        status, said, error = await berth.run("import", str(file), "--json", *options)
        assert (status, error) == (1, ""), said  # one claim is left alone
        answer: dict[str, object] = json.loads(said)
        return answer

    async with AsyncExitStack() as stack:
        stage = await Stage.open(playground.state, stack, stays=False)
        trial = await told()
        first = await told("--apply")
        again = await told("--apply")
        actor = await stage.start(spec, home_places(stage.places)[0], lambda waiting: None)
        after = await told("--apply")

    counts = [(each["adopted"], each["known"]) for each in (trial, first, again, after)]
    assert counts == [(1, 0), (1, 0), (0, 1), (0, 1)]
    assert [each["applied"] for each in (trial, first)] == [False, True]
    assert "192.168.0.9" in str(trial["refused"])
    assert str(actor.address) == "10.0.101.200"
