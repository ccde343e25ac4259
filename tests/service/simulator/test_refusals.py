"""What each action refuses, by the code that the API documents, with nothing changed."""

from __future__ import annotations

import pytest
from tencentcloud.common.exception import TencentCloudSDKException

from tests.support.simulated_cloud import SimulatedCloud

NEW: dict[str, object] = {
    "VpcId": "vpc-one",
    "SubnetId": "subnet-a",
    "NetworkInterfaceName": "eni",
}

# Each: action, parameters (ENI ids by role: free, one, two), the code it is refused with.
REFUSALS: list[tuple[str, dict[str, object], str]] = [
    ("CreateNetworkInterface", {**NEW, "VpcId": "vpc-no"}, "ResourceNotFound"),
    ("CreateNetworkInterface", {**NEW, "SubnetId": "subnet-no"}, "ResourceNotFound"),
    ("CreateNetworkInterface", {**NEW, "VpcId": "one"}, "InvalidParameterValue.Malformed"),
    ("CreateNetworkInterface", {"VpcId": "vpc-one"}, "MissingParameter"),
    ("CreateNetworkInterface", {**NEW, "IsRdma": True}, "UnsupportedOperation"),
    ("CreateNetworkInterface", {**NEW, "Ipv6AddressCount": 1}, "UnsupportedOperation"),
    ("CreateNetworkInterface", {**NEW, "QosLevel": "X"}, "InvalidParameterValue"),
    (
        "CreateNetworkInterface",
        {**NEW, "NetworkInterfaceName": "é" * 31},
        "InvalidParameterValue.TooLong",
    ),
    (
        "CreateNetworkInterface",
        {**NEW, "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.1"}]},
        "InvalidParameterValue.Reserved",
    ),
    (
        "CreateNetworkInterface",
        {**NEW, "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.2"}]},
        "ResourceInUse",
    ),
    (
        "CreateNetworkInterface",
        {**NEW, "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.9.1"}]},
        "InvalidParameterValue.Range",
    ),
    ("CreateNetworkInterface", {**NEW, "SecondaryPrivateIpAddressCount": 30}, "LimitExceeded"),
    (
        "CreateNetworkInterface",
        {**NEW, "SubnetId": "subnet-small", "SecondaryPrivateIpAddressCount": 5},
        "ResourceInsufficient.Subnet",
    ),
    (
        "CreateNetworkInterface",
        {**NEW, "ClientToken": "x" * 65},
        "InvalidParameterValue.Malformed",
    ),
    (
        "AttachNetworkInterface",
        {"NetworkInterfaceId": "free", "InstanceId": "ins-far"},
        "UnsupportedOperation.ZoneMismatch",
    ),
    (
        "AttachNetworkInterface",
        {"NetworkInterfaceId": "one", "InstanceId": "ins-two"},
        "UnsupportedOperation.AttachmentAlreadyExists",
    ),
    (
        "AttachNetworkInterface",
        {"NetworkInterfaceId": "free", "InstanceId": "ins-one"},
        "LimitExceeded",
    ),
    (
        "AttachNetworkInterface",
        {"NetworkInterfaceId": "free", "InstanceId": "ins-no"},
        "ResourceNotFound",
    ),
    (
        "DetachNetworkInterface",
        {"NetworkInterfaceId": "one", "InstanceId": "ins-two"},
        "UnsupportedOperation",
    ),
    (
        "DetachNetworkInterface",
        {"NetworkInterfaceId": "eni-no", "InstanceId": "ins-two"},
        "ResourceNotFound",
    ),
    ("DeleteNetworkInterface", {"NetworkInterfaceId": "one"}, "ResourceInUse"),
    ("DeleteNetworkInterface", {"NetworkInterfaceId": "eni-no"}, "ResourceNotFound"),
    ("AssignPrivateIpAddresses", {"NetworkInterfaceId": "one"}, "MissingParameter"),
    (
        "AssignPrivateIpAddresses",
        {"NetworkInterfaceId": "one", "SecondaryPrivateIpAddressCount": 6},
        "LimitExceeded",
    ),
    (
        "AssignPrivateIpAddresses",
        {"NetworkInterfaceId": "one", "SecondaryPrivateIpAddressCount": -1},
        "InvalidParameterValue.Range",
    ),
    (
        "AssignPrivateIpAddresses",
        {
            "NetworkInterfaceId": "one",
            "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.99"}] * 2,
        },
        "InvalidParameterValue.DuplicatePara",
    ),
    (
        "AssignPrivateIpAddresses",
        {
            "NetworkInterfaceId": "one",
            "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.9"}] * 11,
        },
        "InvalidParameterValue.LimitExceeded",
    ),
    (
        "AssignPrivateIpAddresses",
        {"NetworkInterfaceId": "one", "PrivateIpAddresses": [{"PrivateIpAddress": "ten"}]},
        "InvalidParameterValue.Malformed",
    ),
    (
        "UnassignPrivateIpAddresses",
        {
            "NetworkInterfaceId": "one",
            "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.99"}],
        },
        "ResourceNotFound",
    ),
    (
        "UnassignPrivateIpAddresses",
        {
            "NetworkInterfaceId": "one",
            "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.99"}],
            "InstanceId": "ins-two",
        },
        "UnsupportedOperation.AttachmentNotFound",
    ),
    (
        "MigratePrivateIpAddress",
        {
            "SourceNetworkInterfaceId": "one",
            "DestinationNetworkInterfaceId": "free",
            "PrivateIpAddress": "10.0.1.99",
        },
        "UnauthorizedOperation.AttachmentNotFound",
    ),
    (
        "MigratePrivateIpAddress",
        {
            "SourceNetworkInterfaceId": "one",
            "DestinationNetworkInterfaceId": "one",
            "PrivateIpAddress": "10.0.1.99",
        },
        "UnsupportedOperation",
    ),
    (
        "MigratePrivateIpAddress",
        {
            "SourceNetworkInterfaceId": "one",
            "DestinationNetworkInterfaceId": "two",
            "PrivateIpAddress": "10.0.1.99",
        },
        "ResourceNotFound",
    ),
    (
        "DescribeNetworkInterfaces",
        {"NetworkInterfaceIds": ["one"], "Filters": [{"Name": "vpc-id", "Values": ["v"]}]},
        "InvalidParameter.Coexist",
    ),
    (
        "DescribeNetworkInterfaces",
        {"Filters": [{"Name": "colour", "Values": ["red"]}]},
        "InvalidParameter.FilterInvalidKey",
    ),
    ("DescribeNetworkInterfaces", {"Limit": 101}, "InvalidParameterValue.Range"),
    ("DescribeNetworkInterfaces", {"Limit": "20"}, "InvalidParameter"),
    (
        "DescribeNetworkInterfaces",
        {"NetworkInterfaceIds": ["eni-no"] * 101},
        "InvalidParameterValue.LimitExceeded",
    ),
    ("DescribeSubnets", {"Limit": 20}, "InvalidParameter"),
    ("DescribeSubnets", {"Offset": "x"}, "InvalidParameterValue.Malformed"),
    ("DescribeSubnets", {"NextToken": "x"}, "InvalidParameterValue.Malformed"),
    ("DescribeSubnets", {"NextToken": "eHg="}, "InvalidParameterValue.Malformed"),
    ("DescribeSubnets", {"MaxResults": 101}, "InvalidParameterValue.Range"),
    ("DescribeNetworkInterfaceLimit", {"InstanceId": "ins-no"}, "InvalidInstanceId.NotFound"),
    ("DescribeNetworkInterfaceLimit", {"InstanceId": "eni-no"}, "ResourceNotFound"),
    ("DescribeVpcTaskResult", {"TaskId": "no"}, "ResourceNotFound"),
    (
        "DescribeVpcPrivateIpAddresses",
        {"VpcId": "vpc-no", "PrivateIpAddresses": []},
        "ResourceNotFound",
    ),
]


@pytest.mark.parametrize(("action", "parameters", "code"), REFUSALS)
async def test_what_cannot_be_done_is_refused_by_its_code(
    cloud: SimulatedCloud, action: str, parameters: dict[str, object], code: str
) -> None:
    roles = {
        "free": await cloud.created(),
        "one": await cloud.attached("ins-one"),
        "two": await cloud.attached("ins-two"),
    }
    filled = {
        name: roles.get(value, value) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
    before = (await cloud.admin("GET", "state"))[1]

    refused = await cloud.refusal(action, **filled)

    assert refused == code
    assert (await cloud.admin("GET", "state"))[1] == before


async def test_filters_that_are_no_filters_are_named_so(cloud: SimulatedCloud) -> None:
    answers = {}
    for filters in (["x"], [{"Name": "vpc-id", "Values": "vpc-one"}]):
        with pytest.raises(TencentCloudSDKException) as caught:
            await cloud.vpc.call_and_deserialize(
                "DescribeNetworkInterfaces", {"Filters": filters}
            )
        answers[caught.value.code] = filters

    assert set(answers) == {
        "InvalidParameter.FilterNotDict",
        "InvalidParameter.FilterValuesNotList",
    }


async def test_a_parameter_that_does_not_exist_is_refused(cloud: SimulatedCloud) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        await cloud.vpc.call_and_deserialize("DescribeSubnets", {"Colour": "red"})

    assert caught.value.code == "UnknownParameter"
