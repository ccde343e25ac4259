"""Every action through the official SDK, unchanged: what it gives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.vpc.v20170312 import models

from services.vpc_simulator.api.actions import ACTIONS
from tests.support.simulated_cloud import SimulatedCloud

NEW: dict[str, object] = {
    "VpcId": "vpc-one",
    "SubnetId": "subnet-a",
    "NetworkInterfaceName": "eni",
}


async def test_an_eni_can_be_made_attached_filled_moved_and_taken_away(
    cloud: SimulatedCloud,
) -> None:
    source = await cloud.attached("ins-one")
    destination = await cloud.attached("ins-two")

    assigning = await cloud.call(
        "AssignPrivateIpAddresses", NetworkInterfaceId=source, SecondaryPrivateIpAddressCount=2
    )
    assert await cloud.settled(assigning) == "SUCCESS"
    moving, leaving = await cloud.addresses(source)
    migrating = await cloud.call(
        "MigratePrivateIpAddress",
        SourceNetworkInterfaceId=source,
        DestinationNetworkInterfaceId=destination,
        PrivateIpAddress=moving,
    )
    assert await cloud.settled(migrating) == "SUCCESS"
    unassigning = await cloud.call(
        "UnassignPrivateIpAddresses",
        NetworkInterfaceId=source,
        PrivateIpAddresses=[{"PrivateIpAddress": leaving}],
    )
    assert await cloud.settled(unassigning) == "SUCCESS"
    assert await cloud.addresses(source) == []
    assert await cloud.addresses(destination) == [moving]

    detaching = await cloud.call(
        "DetachNetworkInterface", NetworkInterfaceId=source, InstanceId="ins-one"
    )
    assert await cloud.settled(detaching) == "SUCCESS"
    deleting = await cloud.call("DeleteNetworkInterface", NetworkInterfaceId=source)
    assert await cloud.settled(deleting) == "SUCCESS"
    found: Any = await cloud.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[source])
    assert found.TotalCount == 0


async def test_a_new_eni_is_pending_and_a_settled_attached_one_is_available(
    cloud: SimulatedCloud,
) -> None:
    created: Any = await cloud.call(
        "CreateNetworkInterface", **NEW, Tags=[{"Key": "cluster", "Value": "c1"}]
    )
    new = created.NetworkInterface
    await cloud.settled(created)
    attaching = await cloud.call(
        "AttachNetworkInterface",
        NetworkInterfaceId=new.NetworkInterfaceId,
        InstanceId="ins-one",
    )
    await cloud.settled(attaching)
    found: Any = await cloud.call(
        "DescribeNetworkInterfaces", Filters=[{"Name": "tag:cluster", "Values": ["c1"]}]
    )

    assert (new.State, new.Attachment, new.PrivateIpAddressSet[0].State) == (
        "PENDING",
        None,
        "PENDING",
    )
    [settled] = found.NetworkInterfaceSet
    assert (settled.State, settled.NetworkInterfaceState) == ("AVAILABLE", "INUSE")
    assert (settled.Attachment.InstanceId, settled.Attachment.DeviceIndex) == ("ins-one", 1)
    assert settled.MacAddress == settled.MacAddress.upper()
    assert settled.PrivateIpAddressSet[0].State == "AVAILABLE"


async def test_subnets_tell_how_many_addresses_are_free(cloud: SimulatedCloud) -> None:
    found: Any = await cloud.call(
        "DescribeSubnets", Filters=[{"Name": "zone", "Values": ["zone-1"]}], Limit="1"
    )

    [subnet] = found.SubnetSet
    assert found.TotalCount == 2
    assert (subnet.SubnetId, subnet.TotalIpAddressCount) == ("subnet-a", 253)
    assert subnet.AvailableIpAddressCount == 251  # two instances live there


async def test_pages_cover_everything_once(cloud: SimulatedCloud) -> None:
    for _ in range(3):
        await cloud.created()

    pages: list[Any] = [
        await cloud.call("DescribeNetworkInterfaces", Offset=offset, Limit=4)
        for offset in (0, 4, 8)
    ]

    ids = [eni.NetworkInterfaceId for page in pages for eni in page.NetworkInterfaceSet]
    assert [len(page.NetworkInterfaceSet) for page in pages] == [4, 2, 0]
    assert len(set(ids)) == pages[0].TotalCount == 6


async def test_quotas_are_those_of_the_instance(cloud: SimulatedCloud) -> None:
    limit: Any = await cloud.call("DescribeNetworkInterfaceLimit", InstanceId="ins-one")

    assert (limit.EniQuantity, limit.EniPrivateIpAddressQuantity) == (2, 6)


async def test_addresses_that_someone_has_are_named_and_others_left_out(
    cloud: SimulatedCloud,
) -> None:
    await cloud.admin(
        "POST",
        "foreign-addresses",
        {"subnet": "subnet-b", "address": "10.0.3.9", "type": "CLB"},
    )

    found: Any = await cloud.call(
        "DescribeVpcPrivateIpAddresses",
        VpcId="vpc-one",
        PrivateIpAddresses=["10.0.1.2", "10.0.3.9", "10.0.3.10"],
    )

    kinds = {
        each.PrivateIpAddress: each.PrivateIpAddressType
        for each in found.VpcPrivateIpAddressSet
    }
    assert kinds == {"10.0.1.2": "CVM", "10.0.3.9": "CLB"}


async def test_instances_come_from_the_other_service_at_the_same_address(
    cloud: SimulatedCloud,
) -> None:
    answer = await cloud.cvm.call_and_deserialize(
        "DescribeInstances", {"Filters": [{"Name": "zone", "Values": ["zone-2"]}]}
    )

    [instance] = answer["Response"]["InstanceSet"]
    assert instance["InstanceId"] == "ins-far"
    assert instance["VirtualPrivateCloud"]["SubnetId"] == "subnet-b"
    assert instance["InstanceState"] == "RUNNING"


async def test_an_unknown_instance_is_refused_by_its_own_code(cloud: SimulatedCloud) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        await cloud.cvm.call_and_deserialize("DescribeInstances", {"InstanceIds": ["ins-x"]})

    assert caught.value.code == "InvalidInstanceId.NotFound"


async def test_the_blocking_client_is_served_as_well(cloud: SimulatedCloud) -> None:
    client = cloud.blocking_vpc()
    wrong = models.DeleteNetworkInterfaceRequest()
    wrong.NetworkInterfaceId = "eni-unknown1"

    subnets = await asyncio.to_thread(client.DescribeSubnets, models.DescribeSubnetsRequest())
    with pytest.raises(TencentCloudSDKException) as caught:
        await asyncio.to_thread(client.DeleteNetworkInterface, wrong)

    assert subnets.TotalCount == 3
    assert caught.value.code == "ResourceNotFound"


async def test_a_repeated_token_makes_one_eni_and_names_one_task(
    cloud: SimulatedCloud,
) -> None:
    first: Any = await cloud.call("CreateNetworkInterface", **NEW, ClientToken="t-1")
    again: Any = await cloud.call("CreateNetworkInterface", **NEW, ClientToken="t-1")
    other = await cloud.refusal(
        "CreateNetworkInterface",
        **{**NEW, "NetworkInterfaceName": "other"},
        ClientToken="t-1",
    )

    assert (
        first.NetworkInterface.NetworkInterfaceId == again.NetworkInterface.NetworkInterfaceId
    )
    assert first.RequestId == again.RequestId
    assert other == "UnsupportedOperation.IdempotentParameterMismatch"


async def test_every_action_of_the_vpc_has_a_model_in_the_sdk() -> None:
    for action in ACTIONS.values():
        if action.service == "vpc":
            assert hasattr(models, f"{action.name}Request")
