"""The wireless mode holds thousands of instances: started in seconds, in little memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.simulated_cloud import SimulatedCloud, simulated_cloud

INSTANCES = 2000
START_MAX_S = 20.0  # about 1 s on an idle machine; the limit tells of growth by the square


def many(document: dict[str, object]) -> None:
    """Five hundred instances in each of four subnets."""
    document["vpc"] = {"id": "vpc-one", "cidr": "10.0.0.0/8"}
    document["subnets"] = [
        {"id": f"subnet-{number}", "cidr": f"10.{number}.0.0/16", "zone": "zone-1"}
        for number in range(4)
    ]
    document["instances"] = [
        {"id": f"ins-{number}", "zone": "zone-1", "subnet": f"subnet-{number % 4}"}
        for number in range(INSTANCES)
    ]
    document["limits"] = {
        "enis_per_vpc": 10_000,
        "rates_per_s": {
            "CreateAndAttachNetworkInterface": 100_000,
            "DescribeNetworkInterfaces": 100_000,
            "DescribeVpcTaskResult": 100_000,
        },
    }


@asynccontextmanager
async def crowd(folder: Path, **more: Any) -> AsyncIterator[tuple[SimulatedCloud, float]]:
    began_s = time.monotonic()
    async with simulated_cloud(folder, many, **more) as cloud:
        yield cloud, time.monotonic() - began_s


async def test_two_thousand_instances_start_in_seconds_and_answer(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with crowd(tmp_path, state=state) as (cloud, start_s):
        made = await asyncio.gather(
            *(
                cloud.call(
                    "CreateAndAttachNetworkInterface",
                    VpcId="vpc-one",
                    SubnetId=f"subnet-{number % 4}",
                    NetworkInterfaceName="eni",
                    InstanceId=f"ins-{number}",
                    SecondaryPrivateIpAddressCount=9,
                )
                for number in range(0, INSTANCES, 20)
            )
        )
        await asyncio.gather(*(cloud.settled(each) for each in made))
        found: Any = await cloud.call("DescribeNetworkInterfaces", Limit=100)
        before = (await cloud.admin("GET", "state"))[1]

    async with crowd(tmp_path, state=state) as (cloud, restart_s):
        after = (await cloud.admin("GET", "state"))[1]

    assert found.TotalCount == INSTANCES + INSTANCES // 20
    assert before["broken_rules"] == []
    assert after == before
    assert max(start_s, restart_s) < START_MAX_S
