"""EIPs through the official SDK: allocated, led to addresses, taken off, released."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.simulated_cloud import CALL_TIMEOUT_S, SimulatedCloud, simulated_cloud


@pytest.fixture(autouse=True)
async def no_rates(cloud: SimulatedCloud) -> None:
    """What is tested here is not how often one may ask."""
    actions = ("AllocateAddresses", "AssociateAddress", "DisassociateAddress")
    looks = ("ReleaseAddresses", "DescribeAddresses", "DescribeTaskResult")
    rates = dict.fromkeys((*actions, *looks), 1000.0)
    await cloud.admin("POST", "rates", {"rates_per_s": rates})


async def done(cloud: SimulatedCloud, answer: Any) -> str:
    """Follow a task by its number, which the answer has as a string."""
    assert isinstance(answer.TaskId, str)
    async with asyncio.timeout(CALL_TIMEOUT_S):
        while True:
            found: Any = await cloud.call("DescribeTaskResult", TaskId=int(answer.TaskId))
            if found.Result != "RUNNING":
                return str(found.Result)


async def allocated(cloud: SimulatedCloud) -> str:
    answer: Any = await cloud.call("AllocateAddresses")
    assert await done(cloud, answer) == "SUCCESS"
    [eip] = answer.AddressSet
    return str(eip)


async def bound(cloud: SimulatedCloud, eip: str, eni: str, address: str) -> None:
    answer = await cloud.call(
        "AssociateAddress", AddressId=eip, NetworkInterfaceId=eni, PrivateIpAddress=address
    )
    assert await done(cloud, answer) == "SUCCESS"


async def shown(cloud: SimulatedCloud, eip: str) -> Any:
    found: Any = await cloud.call("DescribeAddresses", AddressIds=[eip])
    return found.AddressSet[0]


async def test_an_eip_goes_its_whole_way(cloud: SimulatedCloud) -> None:
    eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)
    [address] = await cloud.addresses(eni)
    eip = await allocated(cloud)
    states = [(await shown(cloud, eip)).AddressStatus]

    await bound(cloud, eip, eni, address)
    led = await shown(cloud, eip)
    by_public: Any = await cloud.call(
        "DescribeNetworkInterfaces",
        Filters=[{"Name": "public-address-ip", "Values": [led.AddressIp]}],
    )
    detaching = await cloud.call(
        "DetachNetworkInterface", NetworkInterfaceId=eni, InstanceId="ins-one"
    )
    await cloud.settled(detaching)
    states += [led.AddressStatus, (await shown(cloud, eip)).AddressStatus]
    await done(cloud, await cloud.call("DisassociateAddress", AddressId=eip))
    states.append((await shown(cloud, eip)).AddressStatus)
    await done(cloud, await cloud.call("ReleaseAddresses", AddressIds=[eip]))

    assert states == ["UNBIND", "BIND", "BIND_ENI", "UNBIND"]
    assert (led.InstanceId, led.PrivateAddressIp) == ("ins-one", address)
    [found] = by_public.NetworkInterfaceSet
    specification = next(
        each for each in found.PrivateIpAddressSet if each.PrivateIpAddress == address
    )
    assert (specification.AddressId, specification.PublicIpAddress) == (eip, led.AddressIp)
    assert await cloud.refusal("DescribeAddresses", AddressIds=[eip]) == (
        "InvalidAddressId.NotFound"
    )


async def test_unassigning_takes_the_eip_off(cloud: SimulatedCloud) -> None:
    eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)
    [address] = await cloud.addresses(eni)
    eip = await allocated(cloud)
    await bound(cloud, eip, eni, address)

    leaving = await cloud.call(
        "UnassignPrivateIpAddresses",
        NetworkInterfaceId=eni,
        PrivateIpAddresses=[{"PrivateIpAddress": address}],
    )

    assert await cloud.settled(leaving) == "SUCCESS"
    free = await shown(cloud, eip)
    assert (free.AddressStatus, free.PrivateAddressIp) == ("UNBIND", "")


async def test_an_eip_follows_its_address_to_another_eni(cloud: SimulatedCloud) -> None:
    source = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)
    destination = await cloud.attached("ins-two")
    [address] = await cloud.addresses(source)
    eip = await allocated(cloud)
    await bound(cloud, eip, source, address)

    moving = await cloud.call(
        "MigratePrivateIpAddress",
        SourceNetworkInterfaceId=source,
        DestinationNetworkInterfaceId=destination,
        PrivateIpAddress=address,
    )

    assert await cloud.settled(moving) == "SUCCESS"
    assert (await shown(cloud, eip)).NetworkInterfaceId == destination


async def test_an_instance_has_it_at_its_primary_address(cloud: SimulatedCloud) -> None:
    eip, other = await allocated(cloud), await allocated(cloud)

    await done(cloud, await cloud.call("AssociateAddress", AddressId=eip, InstanceId="ins-one"))
    taken = await cloud.refusal("AssociateAddress", AddressId=other, InstanceId="ins-one")

    assert (await shown(cloud, eip)).InstanceId == "ins-one"
    assert taken == "InvalidInstanceId.AlreadyBindEip"


async def test_quotas_count_what_is_held_and_what_was_applied_for(
    cloud: SimulatedCloud,
) -> None:
    eip = await allocated(cloud)
    await done(cloud, await cloud.call("ReleaseAddresses", AddressIds=[eip]))
    await allocated(cloud)

    found: Any = await cloud.call("DescribeAddressQuota")

    quotas = {each.QuotaId: (each.QuotaCurrent, each.QuotaLimit) for each in found.QuotaSet}
    assert quotas == {"TOTAL_EIP_QUOTA": (1, 20), "DAILY_EIP_APPLY": (2, 40)}


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("eips_per_account", "AddressQuotaLimitExceeded"),
        ("eips_per_day", "AddressQuotaLimitExceeded.DailyAllocate"),
    ],
)
async def test_over_a_quota_nothing_is_allocated(
    tmp_path_factory: pytest.TempPathFactory, limit: str, code: str
) -> None:
    def small(document: dict[str, object]) -> None:
        document["limits"] = {limit: 1}

    async with simulated_cloud(tmp_path_factory.mktemp("quota"), small) as cloud:
        refused = await cloud.refusal("AllocateAddresses", AddressCount=2)

    assert refused == code


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("AllocateAddresses", {"AddressCount": 0}, "InvalidParameterValue"),
        (
            "AllocateAddresses",
            {"InternetMaxBandwidthOut": 9999},
            "InvalidParameterValue.BandwidthOutOfRange",
        ),
        ("AllocateAddresses", {"InternetServiceProvider": "X"}, "InvalidParameterValue"),
        ("AssociateAddress", {"AddressId": "eip-no"}, "InvalidParameterValue.Combination"),
        (
            "AssociateAddress",
            {"AddressId": "eip-no", "InstanceId": "ins-one"},
            "InvalidAddressId.NotFound",
        ),
        (
            "AssociateAddress",
            {"AddressId": "eip-no", "InstanceId": "ins-one", "NetworkInterfaceId": "eni-x"},
            "InvalidParameterConflict",
        ),
        (
            "AssociateAddress",
            {"AddressId": "free", "InstanceId": "ins-no"},
            "InvalidInstanceId.NotFound",
        ),
        (
            "AssociateAddress",
            {
                "AddressId": "free",
                "NetworkInterfaceId": "eni-no",
                "PrivateIpAddress": "10.0.1.9",
            },
            "InvalidNetworkInterfaceId.NotFound",
        ),
        (
            "AssociateAddress",
            {"AddressId": "free", "NetworkInterfaceId": "eni", "PrivateIpAddress": "10.0.1.99"},
            "InvalidParameterValue.PrivateIpAddressNotMatch",
        ),
        (
            "AssociateAddress",
            {"AddressId": "free", "NetworkInterfaceId": "eni", "PrivateIpAddress": "address"},
            "InvalidPrivateIpAddress.AlreadyBindEip",
        ),
        (
            "AssociateAddress",
            {"AddressId": "bound", "InstanceId": "ins-two"},
            "UnsupportedOperation.AddressStatusNotPermit",
        ),
        ("DisassociateAddress", {"AddressId": "free"}, "InvalidAddressIdStatus.NotPermit"),
        ("DisassociateAddress", {"AddressId": "eip-no"}, "InvalidAddressId.NotFound"),
        ("ReleaseAddresses", {"AddressIds": ["bound"]}, "InvalidAddressState"),
        ("ReleaseAddresses", {"AddressIds": []}, "MissingParameter"),
        ("DescribeTaskResult", {"TaskId": 999}, "ResourceNotFound"),
        ("DescribeTaskResult", {"TaskId": "1"}, "InvalidParameter"),
    ],
)
async def test_what_cannot_be_done_with_an_eip_is_refused_by_its_code(
    cloud: SimulatedCloud, action: str, parameters: dict[str, object], code: str
) -> None:
    eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)
    [address] = await cloud.addresses(eni)
    roles = {"eni": eni, "address": address}
    roles |= {name: await allocated(cloud) for name in ("free", "bound")}
    await bound(cloud, roles["bound"], eni, address)

    def filled(value: object) -> object:
        if isinstance(value, list):
            return [filled(each) for each in value]
        return roles.get(value, value) if isinstance(value, str) else value

    before = (await cloud.admin("GET", "state"))[1]
    refused = await cloud.refusal(action, **{k: filled(v) for k, v in parameters.items()})

    assert refused == code
    assert (await cloud.admin("GET", "state"))[1] == before


async def test_an_eip_under_change_takes_no_other_change(cloud: SimulatedCloud) -> None:
    eip = await allocated(cloud)
    stuck = {"action": "AssociateAddress", "kind": "stuck", "hold_ms": 600_000}
    await cloud.admin("POST", "faults", stuck)
    await cloud.call("AssociateAddress", AddressId=eip, InstanceId="ins-one")

    codes = [
        await cloud.refusal("DisassociateAddress", AddressId=eip),
        await cloud.refusal("ReleaseAddresses", AddressIds=[eip]),
    ]

    assert (await shown(cloud, eip)).AddressStatus == "BINDING"
    assert codes == ["OperationDenied.MutexTaskRunning"] * 2
