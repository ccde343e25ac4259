"""Clouds that cannot serve the demo's pods: the reason in one line, and nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.berth_command import DEMO_S, Berth
from tests.support.leftovers import traces_of

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(2 * DEMO_S)]

CLOUD = """\
region: ap-guangzhou
vpc: {id: vpc-berth, cidr: 10.0.0.0/16}
subnets:
  - {id: subnet-nodes-a, cidr: 10.0.1.0/24, zone: zone-1}
  - {id: subnet-nodes-b, cidr: 10.0.2.0/24, zone: zone-2}
  - {id: subnet-pods-a, cidr: 10.0.101.0/28, zone: zone-1}
instances:
  - {id: ins-node1, node: node-1, zone: zone-1, subnet: subnet-nodes-a}
  - {id: ins-node2, node: node-2, zone: zone-2, subnet: subnet-nodes-b}
"""
TAKEN = "".join(
    f"  - {{subnet: subnet-pods-a, address: 10.0.101.{last}, type: CLB}}\n"
    for last in range(4, 15)
)
FULL_SUBNET = (
    CLOUD.replace(
        "  - {id: ins-node2, node: node-2, zone: zone-2, subnet: subnet-nodes-b}\n", ""
    ).replace("  - {id: subnet-nodes-b, cidr: 10.0.2.0/24, zone: zone-2}\n", "")
    + "foreign_addresses:\n"
    + TAKEN
)


@pytest.mark.parametrize(
    ("cloud", "reason"),
    [
        pytest.param(
            FULL_SUBNET, "zone zone-1 has none left (subnet-pods-a has 0 of 13 free)", id="full"
        ),
        pytest.param(
            CLOUD,
            "node node-2 is in zone zone-2, which has no container subnet",
            id="zone without a subnet",
            marks=pytest.mark.long,  # the node is given half a minute to get one
        ),
    ],
)
async def test_what_the_cloud_lacks_is_one_line(
    berth: Berth, run_dir: Path, tmp_path: Path, cloud: str, reason: str
) -> None:
    topology = tmp_path / "topology.yaml"
    topology.write_text(cloud, encoding="utf-8")
    before = traces_of(run_dir)

    status, _, said = await berth.run("demo", "--json", "--topology", str(topology))

    assert status == 1
    assert reason in said
    assert said.count("\n") == 1
    assert traces_of(run_dir) == before
