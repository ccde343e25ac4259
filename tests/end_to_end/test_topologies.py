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
SHARED_SUBNET = CLOUD + (
    "foreign_addresses: [{subnet: subnet-pods-a, address: 10.0.101.9, type: CLB}]\n"
)
# Room for the primary address of one node's ENI, and four pods; the other node finds one free.
SMALL_SUBNET = CLOUD.replace("10.0.101.0/28", "10.0.101.0/29").replace(
    "zone: zone-2, subnet: subnet-nodes-b", "zone: zone-1, subnet: subnet-nodes-a"
)


@pytest.mark.parametrize(
    ("cloud", "reason"),
    [
        pytest.param(
            SHARED_SUBNET,
            "subnet subnet-pods-a is not empty: 1 addresses are not ours: 10.0.101.9 (CLB)",
            id="shared with others",
        ),
        pytest.param(
            SMALL_SUBNET,
            "zone zone-1 has none left (subnet-pods-a has ",
            id="full",
            marks=pytest.mark.long,  # the node is given half a minute to get one
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
