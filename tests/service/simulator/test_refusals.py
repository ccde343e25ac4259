"""What is refused before an action looks at the cloud, and values that are easily got wrong.

Every documented error of every action: test_documented_errors.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tencentcloud.common.exception import TencentCloudSDKException

from shared.errors import InvalidInput
from tests.support.simulated_cloud import SimulatedCloud, simulated_cloud

NEW: dict[str, object] = {
    "VpcId": "vpc-one",
    "SubnetId": "subnet-a",
    "NetworkInterfaceName": "eni",
}

# Each: action, parameters, the code it is refused with.
REFUSALS: list[tuple[str, dict[str, object], str]] = [
    ("CreateNetworkInterface", {**NEW, "Ipv6AddressCount": 1}, "UnsupportedOperation"),
    (
        "CreateNetworkInterface",
        {**NEW, "ClientToken": "x" * 65},
        "InvalidParameterValue.Malformed",
    ),
    (
        "CreateNetworkInterface",
        {**NEW, "SecondaryPrivateIpAddressCount": -1},
        "InvalidParameterValue.Range",
    ),
    ("DescribeNetworkInterfaces", {"Limit": "20"}, "InvalidParameter"),
    ("DescribeSubnets", {"Limit": 20}, "InvalidParameter"),
    ("DescribeSubnets", {"Offset": "x"}, "InvalidParameterValue.Malformed"),
    ("DescribeSubnets", {"NextToken": "x"}, "InvalidParameterValue.Malformed"),
    ("DescribeSubnets", {"NextToken": "eHg="}, "InvalidParameterValue.Malformed"),
    ("DescribeSubnets", {"MaxResults": 101}, "InvalidParameterValue.Range"),
]


async def test_values_that_cannot_be_are_refused_by_their_code(cloud: SimulatedCloud) -> None:
    before = (await cloud.admin("GET", "state"))[1]

    refused = [
        (action, parameters, await cloud.refusal(action, **parameters))
        for action, parameters, _ in REFUSALS
    ]

    assert refused == REFUSALS
    assert (await cloud.admin("GET", "state"))[1] == before


async def test_a_parameter_that_does_not_exist_is_refused(cloud: SimulatedCloud) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        await cloud.vpc.call_and_deserialize("DescribeSubnets", {"Colour": "red"})

    assert caught.value.code == "UnknownParameter"


async def test_a_second_vpc_is_refused_where_there_is_a_network(tmp_path: Path) -> None:
    def with_another(topology: dict[str, object]) -> None:
        topology["more_vpcs"] = [{"id": "vpc-two", "cidr": "10.9.0.0/16"}]

    with pytest.raises(InvalidInput, match="more_vpcs: 1 is not allowed; allowed: none"):
        async with simulated_cloud(tmp_path, with_another, wireless=False):
            pass
