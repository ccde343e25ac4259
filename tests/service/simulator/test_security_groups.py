"""Security groups, names, and ENIs made or moved in one call, through the official SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_cloud import SimulatedCloud, simulated_cloud

NEW: dict[str, object] = {
    "VpcId": "vpc-one",
    "SubnetId": "subnet-a",
    "NetworkInterfaceName": "eni",
}


async def shown(cloud: SimulatedCloud, eni: str) -> Any:
    found: Any = await cloud.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])
    return found.NetworkInterfaceSet[0]


async def test_groups_are_added_taken_away_and_replaced(cloud: SimulatedCloud) -> None:
    eni = await cloud.created(SecurityGroupIds=["sg-a"])
    both = {"NetworkInterfaceIds": [eni]}
    having = []

    await cloud.call(
        "AssociateNetworkInterfaceSecurityGroups", **both, SecurityGroupIds=["sg-b", "sg-a"]
    )
    having.append((await shown(cloud, eni)).GroupSet)
    await cloud.call(
        "DisassociateNetworkInterfaceSecurityGroups", **both, SecurityGroupIds=["sg-a"]
    )
    having.append((await shown(cloud, eni)).GroupSet)
    await cloud.call(
        "ModifyNetworkInterfaceAttribute",
        NetworkInterfaceId=eni,
        SecurityGroupIds=["sg-z", "sg-c"],
        NetworkInterfaceName="other",
    )
    last = await shown(cloud, eni)

    assert having == [["sg-a", "sg-b"], ["sg-b"]]
    assert (last.GroupSet, last.NetworkInterfaceName) == (["sg-z", "sg-c"], "other")


async def test_an_eni_is_made_on_its_instance_in_one_call(cloud: SimulatedCloud) -> None:
    made: Any = await cloud.call(
        "CreateAndAttachNetworkInterface",
        **NEW,
        InstanceId="ins-one",
        SecondaryPrivateIpAddressCount=2,
    )

    assert await cloud.settled(made) == "SUCCESS"
    eni = await shown(cloud, made.NetworkInterface.NetworkInterfaceId)
    assert (eni.NetworkInterfaceState, eni.Attachment.InstanceId) == ("INUSE", "ins-one")
    assert [each.State for each in eni.PrivateIpAddressSet] == ["AVAILABLE"] * 3


async def test_a_making_that_fails_leaves_nothing(cloud: SimulatedCloud) -> None:
    action = "CreateAndAttachNetworkInterface"
    before = (await cloud.admin("GET", "state"))[1]
    await cloud.admin("POST", "faults", {"action": action, "kind": "task_failed"})

    made = await cloud.call(action, **NEW, InstanceId="ins-one")

    assert await cloud.settled(made) == "FAILED"
    assert (await cloud.admin("GET", "state"))[1] == before


@pytest.mark.parametrize(("kind", "where"), [("delay", "ins-two"), ("task_failed", "ins-one")])
async def test_an_eni_moves_whole_or_not_at_all(
    cloud: SimulatedCloud, kind: str, where: str
) -> None:
    eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)
    held = await cloud.addresses(eni)
    await cloud.admin(
        "POST", "faults", {"action": "MigrateNetworkInterface", "kind": kind, "hold_ms": 1}
    )

    moving = await cloud.call(
        "MigrateNetworkInterface",
        NetworkInterfaceId=eni,
        SourceInstanceId="ins-one",
        DestinationInstanceId="ins-two",
    )
    await cloud.settled(moving)

    assert (await shown(cloud, eni)).Attachment.InstanceId == where
    assert await cloud.addresses(eni) == held
    assert (await cloud.admin("GET", "state"))[1]["broken_rules"] == []


ASSOCIATE = "AssociateNetworkInterfaceSecurityGroups"
DISASSOCIATE = "DisassociateNetworkInterfaceSecurityGroups"
MODIFY = "ModifyNetworkInterfaceAttribute"
MANY = [f"sg-{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        (ASSOCIATE, {"NetworkInterfaceIds": ["eni-no"]}, "ResourceNotFound"),
        (ASSOCIATE, {"SecurityGroupIds": ["sg-no"]}, "ResourceNotFound"),
        (ASSOCIATE, {"SecurityGroupIds": ["x"]}, "InvalidParameterValue.Malformed"),
        (ASSOCIATE, {"SecurityGroupIds": []}, "MissingParameter"),
        (ASSOCIATE, {"SecurityGroupIds": MANY}, "LimitExceeded"),
        (
            ASSOCIATE,
            {"SecurityGroupIds": ["sg-1"] * 101},
            "InvalidParameterValue.LimitExceeded",
        ),
        (ASSOCIATE, {"NetworkInterfaceIds": ["primary"]}, "UnsupportedOperation"),
        (DISASSOCIATE, {"SecurityGroupIds": ["sg-2"]}, "ResourceNotFound"),
        (MODIFY, {"SecurityGroupIds": []}, "InvalidParameterValue"),
        (MODIFY, {"SecurityGroupIds": ["sg-1", "sg-1"]}, "InvalidParameterValue"),
        (MODIFY, {"TrunkingFlag": "Enable"}, "UnsupportedOperation"),
        (MODIFY, {"NetworkInterfaceName": "x" * 61}, "InvalidParameterValue.TooLong"),
        (MODIFY, {"NetworkInterfaceId": "eni-no"}, "ResourceNotFound"),
        (
            "CreateAndAttachNetworkInterface",
            {**NEW, "InstanceId": "ins-far"},
            "UnsupportedOperation.ZoneMismatch",
        ),
        (
            "CreateAndAttachNetworkInterface",
            {**NEW, "InstanceId": "ins-one"},
            "LimitExceeded",
        ),
        (
            "MigrateNetworkInterface",
            {"SourceInstanceId": "ins-two", "DestinationInstanceId": "ins-one"},
            "UnsupportedOperation.AttachmentNotFound",
        ),
        (
            "MigrateNetworkInterface",
            {"SourceInstanceId": "ins-one", "DestinationInstanceId": "ins-far"},
            "UnsupportedOperation.ZoneMismatch",
        ),
        (
            "MigrateNetworkInterface",
            {"SourceInstanceId": "ins-one", "DestinationInstanceId": "ins-no"},
            "ResourceNotFound",
        ),
        ("AssignIpv6Addresses", {"Ipv6AddressCount": 1}, "UnsupportedOperation"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_code(
    tmp_path: Path, action: str, parameters: dict[str, object], code: str
) -> None:
    def groups(document: dict[str, object]) -> None:
        document["security_groups"] = MANY

    async with simulated_cloud(tmp_path, groups) as cloud:
        eni = await cloud.attached("ins-one", SecurityGroupIds=["sg-1"])
        found: Any = await cloud.call(
            "DescribeNetworkInterfaces", Filters=[{"Name": "is-primary", "Values": ["true"]}]
        )
        primary = found.NetworkInterfaceSet[0].NetworkInterfaceId
        asked: dict[str, object] = {}
        if action in (ASSOCIATE, DISASSOCIATE):
            asked = {"NetworkInterfaceIds": [eni], "SecurityGroupIds": ["sg-1"]}
        elif "Create" not in action:
            asked = {"NetworkInterfaceId": eni}
        asked |= parameters
        if asked.get("NetworkInterfaceIds") == ["primary"]:
            asked["NetworkInterfaceIds"] = [primary]
        before = (await cloud.admin("GET", "state"))[1]

        refused = await cloud.refusal(action, **asked)

        assert refused == code
        assert (await cloud.admin("GET", "state"))[1] == before


async def test_a_topology_may_ask_for_a_group_at_attachment(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def strict(document: dict[str, object]) -> None:
        document["limits"] = {"attach_needs_security_group": True}

    async with simulated_cloud(tmp_path_factory.mktemp("groups"), strict) as cloud:
        bare, grouped = await cloud.created(), await cloud.created(SecurityGroupIds=["sg-a"])
        refused = await cloud.refusal(
            "AttachNetworkInterface", NetworkInterfaceId=bare, InstanceId="ins-one"
        )
        await cloud.call(
            "AttachNetworkInterface", NetworkInterfaceId=grouped, InstanceId="ins-one"
        )

    assert refused == "UnsupportedOperation"
