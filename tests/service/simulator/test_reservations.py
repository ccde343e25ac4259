"""Kept addresses: nobody else is given them, their owner uses them, all of it by the SDK."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tencentcloud.common.exception import TencentCloudSDKException

from tests.support.simulated_cloud import SimulatedCloud

KEPT = "10.0.1.77"


async def reserve(cloud: SimulatedCloud, address: str = KEPT, **more: object) -> str:
    made: Any = await cloud.call(
        "CreateReserveIpAddresses", VpcId="vpc-one", IpAddresses=[address], **more
    )
    [kept] = made.ReserveIpAddressSet
    return str(kept.ReserveIpId)


async def reserved(cloud: SimulatedCloud, **filters: list[str]) -> list[Any]:
    asked = [{"Name": name, "Values": values} for name, values in filters.items()]
    found: Any = await cloud.call("DescribeReserveIpAddresses", Filters=asked)
    return list(found.ReserveIpAddressSet)


def addresses(*texts: str) -> list[dict[str, str]]:
    return [{"PrivateIpAddress": each} for each in texts]


async def test_a_kept_address_is_refused_to_others_and_given_to_its_owner(
    cloud: SimulatedCloud,
) -> None:
    kept = await reserve(cloud)
    eni = await cloud.attached("ins-one")
    foreign = {"VpcId": "vpc-one", "SubnetId": "subnet-a", "NetworkInterfaceName": "theirs"}

    with pytest.raises(TencentCloudSDKException) as caught:
        await cloud.call_as_foreigner(
            "CreateNetworkInterface", **foreign, PrivateIpAddresses=addresses(KEPT)
        )
    admin, _ = await cloud.admin(
        "POST", "foreign-addresses", {"subnet": "subnet-a", "address": KEPT}
    )
    assigning = await cloud.call(
        "AssignPrivateIpAddresses", NetworkInterfaceId=eni, PrivateIpAddresses=addresses(KEPT)
    )

    assert (caught.value.code, admin) == ("ResourceInUse", 409)
    assert await cloud.settled(assigning) == "SUCCESS"
    [shown] = await reserved(cloud, **{"reserve-ip-id": [kept]})
    assert (shown.State, shown.ResourceId, shown.ReserveIpAddress) == ("Bind", eni, KEPT)


async def test_an_address_kept_while_in_use_is_held_when_it_leaves(
    cloud: SimulatedCloud,
) -> None:
    eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)
    [address] = await cloud.addresses(eni)
    kept = await reserve(cloud, address, Name="web-0")

    leaving = await cloud.call(
        "UnassignPrivateIpAddresses",
        NetworkInterfaceId=eni,
        PrivateIpAddresses=addresses(address),
    )
    await cloud.settled(leaving)
    taken, _ = await cloud.admin(
        "POST", "foreign-addresses", {"subnet": "subnet-a", "address": address}
    )

    assert taken == 409
    [shown] = await reserved(cloud, state=["UnBind"], name=["web-0"])
    assert (shown.ReserveIpId, shown.ResourceId) == (kept, "")


async def test_a_count_never_picks_a_kept_address(cloud: SimulatedCloud) -> None:
    made: Any = await cloud.call(
        "CreateReserveIpAddresses", VpcId="vpc-one", SubnetId="subnet-small", IpAddressCount=3
    )
    kept = {each.ReserveIpAddress for each in made.ReserveIpAddressSet}

    eni = await cloud.created("subnet-small", SecondaryPrivateIpAddressCount=1)
    full = await cloud.refusal(
        "AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=1
    )
    subnets: Any = await cloud.call("DescribeSubnets", SubnetIds=["subnet-small"])

    assert len(kept) == 3
    assert full == "ResourceInsufficient.Subnet"
    assert subnets.SubnetSet[0].AvailableIpAddressCount == 0
    assert not kept & set(await cloud.addresses(eni))


async def test_a_released_reservation_is_anybodys(cloud: SimulatedCloud) -> None:
    kept = await reserve(cloud)

    await cloud.call("DeleteReserveIpAddresses", VpcId="vpc-one", ReserveIpIds=[kept])
    taken, _ = await cloud.admin(
        "POST", "foreign-addresses", {"subnet": "subnet-a", "address": KEPT}
    )

    assert taken == 200
    assert await reserved(cloud) == []


async def test_accounts_do_not_see_or_release_each_others(cloud: SimulatedCloud) -> None:
    kept = await reserve(cloud)

    seen: Any = await cloud.call_as_foreigner("DescribeReserveIpAddresses")
    with pytest.raises(TencentCloudSDKException) as caught:
        await cloud.call_as_foreigner(
            "DeleteReserveIpAddresses", VpcId="vpc-one", ReserveIpIds=[kept]
        )

    assert seen.TotalCount == 0
    assert caught.value.code == "ResourceNotFound"


async def test_used_addresses_are_listed_with_what_uses_them(cloud: SimulatedCloud) -> None:
    kept = await reserve(cloud, "10.0.3.50")
    await cloud.admin(
        "POST", "foreign-addresses", {"subnet": "subnet-b", "address": "10.0.3.9"}
    )
    every: Any = await cloud.call(
        "DescribeUsedIpAddress", VpcId="vpc-one", SubnetId="subnet-b", Limit=100
    )
    one: Any = await cloud.call(
        "DescribeUsedIpAddress", VpcId="vpc-one", IpAddresses=["10.0.3.9", "10.0.3.200"]
    )
    by_resource: Any = await cloud.call(
        "DescribeUsedIpAddress",
        VpcId="vpc-one",
        Filters=[{"Name": "resource-id", "Values": [kept]}],
    )

    kinds = {each.IpAddress: each.ResourceType for each in every.IpAddressStates}
    assert kinds == {"10.0.3.2": "ENI", "10.0.3.9": "CLB", "10.0.3.50": "RESERVE"}
    assert [each.IpAddress for each in one.IpAddressStates] == ["10.0.3.9"]
    assert [each.IpAddress for each in by_resource.IpAddressStates] == ["10.0.3.50"]


async def test_each_account_has_its_own_rates_and_they_change_while_running(
    cloud: SimulatedCloud,
) -> None:
    status, _ = await cloud.admin("POST", "rates", {"rates_per_s": {"DescribeSubnets": 0.01}})

    await cloud.call("DescribeSubnets")
    refused = await cloud.refusal("DescribeSubnets")
    other: Any = await cloud.call_as_foreigner("DescribeSubnets")

    assert (status, refused, other.TotalCount) == (200, "RequestLimitExceeded", 3)


async def test_a_repeat_while_the_first_call_runs_is_told_so(cloud: SimulatedCloud) -> None:
    slow = {"calls": {"actions": {"CreateReserveIpAddresses": {"median_ms": 400}}}}
    await cloud.admin("POST", "latency", slow)

    both = [
        asyncio.create_task(reserve(cloud, ClientToken="t-1"), name=f"repeat-{number}")
        for number in range(2)
    ]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    again = await reserve(cloud, ClientToken="t-1")

    refused = [each for each in outcomes if isinstance(each, TencentCloudSDKException)]
    assert [each.code for each in refused] == ["UnsupportedOperation.IdempotentProcessing"]
    assert again in outcomes


async def test_subnets_can_be_followed_by_token(cloud: SimulatedCloud) -> None:
    first: Any = await cloud.call("DescribeSubnets", MaxResults=2)
    second: Any = await cloud.call("DescribeSubnets", MaxResults=2, NextToken=first.NextToken)

    pages = [[each.SubnetId for each in page.SubnetSet] for page in (first, second)]
    assert pages == [["subnet-a", "subnet-small"], ["subnet-b"]]
    assert second.NextToken == ""


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"address-ip": ["1.2"]}, 1),
        ({"address-ip": ["1.2"], "ip-exact-match": ["true"]}, 0),
        ({"address-ip": ["10.0.1.2"], "ip-exact-match": ["true"]}, 1),
        ({"eni-qos": ["AU"]}, 1),
        ({"eni-qos": ["PT"]}, 0),
        ({"termination-protection": ["true"]}, 1),
        ({"traffic-protection": ["true"]}, 0),
        ({"address-type": ["IPv4"]}, 4),
        ({"address-ipv6": ["::1"]}, 0),
        ({"is-primary": ["TRUE"]}, 3),
    ],
)
async def test_enis_are_filtered_as_documented(
    cloud: SimulatedCloud, filters: dict[str, list[str]], count: int
) -> None:
    await cloud.created("subnet-b", QosLevel="AU", TerminationProtection=True)

    found: Any = await cloud.call(
        "DescribeNetworkInterfaces",
        Filters=[{"Name": name, "Values": values} for name, values in filters.items()],
    )

    assert found.TotalCount == count
