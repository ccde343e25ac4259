"""What makes the simulated cloud refuse: for each action, parameters for each code.

`$name` stands for what `furnished` has made. Codes that no parameters of a row can bring about
(rates, ClientTokens, the VPC's quota, faults) are brought about by the test itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from tests.support.simulated_cloud import REGION, SimulatedCloud

Row = Mapping[str, object]

TOPOLOGY: Final[Mapping[str, object]] = {
    "region": REGION,
    "vpc": {"id": "vpc-one", "cidr": "10.0.0.0/16"},
    "more_vpcs": [{"id": "vpc-two", "cidr": "10.9.0.0/16"}],
    "subnets": [
        {"id": "subnet-a", "cidr": "10.0.1.0/24", "zone": "zone-1"},
        {"id": "subnet-small", "cidr": "10.0.2.0/29", "zone": "zone-1"},
        {"id": "subnet-b", "cidr": "10.0.3.0/24", "zone": "zone-2"},
        {"id": "subnet-two", "cidr": "10.9.1.0/24", "zone": "zone-1", "vpc": "vpc-two"},
    ],
    "instances": [
        {
            "id": f"ins-{name}",
            "zone": zone,
            "subnet": subnet,
            "quota": {"enis": enis, "addresses_per_eni": 6},
        }
        for name, zone, subnet, enis in (
            ("one", "zone-1", "subnet-a", 8),
            ("two", "zone-1", "subnet-a", 8),
            ("full", "zone-1", "subnet-a", 1),
            ("far", "zone-2", "subnet-b", 8),
            ("other", "zone-1", "subnet-two", 8),
        )
    ],
    "limits": {
        "enis_per_vpc": 16,
        "attach_needs_security_group": True,
        "eips_per_day": 10,
        "reserved_per_subnet": 8,
        "rates_per_s": {"DescribeVpcTaskResult": 1000, "DescribeTaskResult": 1000},
    },
    "latency": {
        "calls": {"default": {"median_ms": 0}},
        "effects": {"default": {"median_ms": 0}},
    },
}

NEW: Final[Row] = {
    "VpcId": "vpc-one",
    "SubnetId": "subnet-a",
    "NetworkInterfaceName": "eni",
}
_SIX_GROUPS: Final = [f"sg-{n}" for n in range(6)]
_USED: Final = "10.0.1.2"  # an instance's own


def _named(*addresses: str, **more: object) -> dict[str, object]:
    return {"PrivateIpAddresses": [{"PrivateIpAddress": each, **more} for each in addresses]}


def _creation(new: Row) -> dict[str, Row]:
    return {
        "InvalidParameter.FilterInvalidKey": {**new, "Tags": [{"Key": "", "Value": "x"}]},
        "InvalidParameter.FilterNotDict": {**new, "Tags": ["x"]},
        "InvalidParameterValue": {**new, "QosLevel": "X"},
        "InvalidParameterValue.LimitExceeded": {**new, **_named(*["10.0.1.9"] * 11)},
        "InvalidParameterValue.Malformed": {**new, "VpcId": "one"},
        "InvalidParameterValue.Range": {**new, **_named("10.0.9.1")},
        "InvalidParameterValue.Reserved": {**new, **_named("10.0.1.1")},
        "InvalidParameterValue.TooLong": {**new, "NetworkInterfaceName": "é" * 31},
        "LimitExceeded": {**new, "SecondaryPrivateIpAddressCount": 30},
        "MissingParameter": {"VpcId": "vpc-one"},
        "ResourceInUse": {**new, **_named(_USED)},
        "ResourceInsufficient.Subnet": {
            **new,
            "SubnetId": "subnet-small",
            "SecondaryPrivateIpAddressCount": 5,
        },
        "ResourceNotFound": {**new, "SubnetId": "subnet-no"},
        "UnsupportedOperation": {**new, "IsRdma": True},
        "UnsupportedOperation.ResourceMismatch": {**new, "SubnetId": "subnet-two"},
    }


def _on(eni: str, **more: object) -> dict[str, object]:
    return {"NetworkInterfaceId": eni, **more}


def _attaching(eni: str, instance: str, **more: object) -> dict[str, object]:
    return _on(eni, InstanceId=instance, **more)


def _migrating(source: str, destination: str, address: str) -> dict[str, object]:
    return {
        "SourceNetworkInterfaceId": source,
        "DestinationNetworkInterfaceId": destination,
        "PrivateIpAddress": address,
    }


def _moving(eni: str, source: str, destination: str) -> dict[str, object]:
    return _on(eni, SourceInstanceId=source, DestinationInstanceId=destination)


def _groups(enis: list[str], groups: list[str]) -> dict[str, object]:
    return {"NetworkInterfaceIds": enis, "SecurityGroupIds": groups}


def _kept(subnet: str = "subnet-a", vpc: str = "vpc-one", **more: object) -> dict[str, object]:
    return {"VpcId": vpc, "SubnetId": subnet, **more}


def _leading(eip: str, **more: object) -> dict[str, object]:
    return {"AddressId": eip, **more}


def _filter(name: str, values: object) -> dict[str, object]:
    return {"Filters": [{"Name": name, "Values": values}]}


def _chosen(ids: str, prefix: str) -> dict[str, Row]:
    """What every look refuses that takes ids or filters, and pages."""
    return {
        "InvalidParameter.Coexist": {ids: [f"{prefix}-x"], **_filter("vpc-id", ["v"])},
        "InvalidParameter.FilterInvalidKey": _filter("colour", ["red"]),
        "InvalidParameterValue.LimitExceeded": {ids: [f"{prefix}-x"] * 101},
        "InvalidParameterValue.Malformed": {ids: ["x"]},
        "InvalidParameterValue.Range": {"Limit": 101},
    }


_LOOKS: Final[Mapping[str, Row]] = {
    "InvalidParameter.FilterNotDict": {"Filters": ["x"]},
    "InvalidParameter.FilterValuesNotList": _filter("vpc-id", "vpc-one"),
    "InvalidParameterValue.NotUtf8EncodingError": _filter("vpc-id", ["\ud800"]),
}
_IPV6: Final[Mapping[str, Row]] = {
    "InvalidParameterValue.Malformed": _on("one", Ipv6Addresses=[]),
    "ResourceNotFound": _on("eni-no", Ipv6Addresses=[]),
    "UnsupportedOperation": _on("$one", Ipv6Addresses=[]),
}

ROWS: Final[Mapping[str, Mapping[str, Row]]] = {
    "CreateNetworkInterface": _creation(NEW),
    "CreateAndAttachNetworkInterface": _creation({**NEW, "InstanceId": "ins-one"}),
    "AttachNetworkInterface": {
        "InvalidParameterValue.Malformed": _attaching("free", "ins-one"),
        "LimitExceeded": _attaching("$free", "ins-full"),
        "ResourceNotFound": _attaching("$free", "ins-no"),
        "UnsupportedOperation": _attaching("$bare", "ins-one"),
        "UnsupportedOperation.AttachmentAlreadyExists": _attaching("$one", "ins-two"),
        "UnsupportedOperation.InvalidState": _attaching("$pending", "ins-one"),
        "UnsupportedOperation.UnsupportedInstanceFamily": _attaching(
            "$free", "ins-one", AttachType=1
        ),
        "UnsupportedOperation.VpcMismatch": _attaching("$free", "ins-other"),
        "UnsupportedOperation.ZoneMismatch": _attaching("$free", "ins-far"),
    },
    "DetachNetworkInterface": {
        "InvalidParameterValue.Malformed": _attaching("one", "ins-one"),
        "ResourceNotFound": _attaching("eni-no", "ins-one"),
        "UnsupportedOperation": _attaching("$one", "ins-two"),
        "UnsupportedOperation.InvalidState": _attaching("$busy", "ins-one"),
    },
    "DeleteNetworkInterface": {
        "InvalidParameterValue.Malformed": _on("free"),
        "ResourceInUse": _on("$one"),
        "ResourceNotFound": _on("eni-no"),
        "UnsupportedOperation": _on("$safe"),
        "UnsupportedOperation.InvalidState": _on("$pending"),
    },
    "AssignPrivateIpAddresses": {
        "InvalidParameterValue.DuplicatePara": _on("$one", **_named(*["10.0.1.99"] * 2)),
        "InvalidParameterValue.LimitExceeded": _on("$one", **_named(*["10.0.1.99"] * 11)),
        "InvalidParameterValue.Malformed": _on("$one", **_named("ten")),
        "InvalidParameterValue.Range": _on("$one", **_named("10.0.9.1")),
        "InvalidParameterValue.Reserved": _on("$one", **_named("10.0.1.255")),
        "LimitExceeded": _on("$one", SecondaryPrivateIpAddressCount=6),
        "MissingParameter": _on("$one"),
        "ResourceInUse": _on("$one", **_named(_USED)),
        "ResourceInsufficient.Subnet": _on("$small", SecondaryPrivateIpAddressCount=5),
        "ResourceNotFound": _on("eni-no", SecondaryPrivateIpAddressCount=1),
        "UnsupportedOperation": _on("$one", **_named("10.0.1.99", Primary=True)),
        "UnsupportedOperation.InvalidState": _on("$pending", SecondaryPrivateIpAddressCount=1),
        "UnsupportedOperation.MutexOperationTaskRunning": _on(
            "$busy", SecondaryPrivateIpAddressCount=1
        ),
    },
    "UnassignPrivateIpAddresses": {
        "InvalidParameterValue.DuplicatePara": _on("$one", **_named(*["$address"] * 2)),
        "InvalidParameterValue.LimitExceeded": _on("$one", **_named(*["$address"] * 11)),
        "InvalidParameterValue.Malformed": _on("$one", **_named("ten")),
        "ResourceNotFound": _on("$one", **_named("10.0.1.99")),
        "UnsupportedOperation": _on("$one", **_named("$primary")),
        "UnsupportedOperation.AttachmentNotFound": _on(
            "$one", **_named("$address"), InstanceId="ins-two"
        ),
        "UnsupportedOperation.InvalidState": _on("$pending", **_named("10.0.1.99")),
        "UnsupportedOperation.MutexOperationTaskRunning": _on("$busy", **_named("10.0.1.99")),
    },
    "MigratePrivateIpAddress": {
        "InvalidParameterValue.Malformed": _migrating("one", "$two", "$address"),
        "LimitExceeded": _migrating("$one", "$crowded", "$address"),
        "ResourceNotFound": _migrating("$one", "$two", "10.0.1.99"),
        "UnauthorizedOperation.AttachmentNotFound": _migrating("$one", "$free", "$address"),
        "UnauthorizedOperation.PrimaryIp": _migrating("$one", "$two", "$primary"),
        "UnsupportedOperation": _migrating("$one", "$one", "$address"),
        "UnsupportedOperation.MutexOperationTaskRunning": _migrating(
            "$one", "$busy", "$address"
        ),
    },
    "MigrateNetworkInterface": {
        "InvalidParameterValue.Malformed": _moving("one", "ins-one", "ins-two"),
        "LimitExceeded": _moving("$one", "ins-one", "ins-full"),
        "ResourceNotFound": _moving("$one", "ins-one", "ins-no"),
        "UnsupportedOperation": _moving("$one", "ins-one", "ins-one"),
        "UnsupportedOperation.AttachmentNotFound": _moving("$free", "ins-one", "ins-two"),
        "UnsupportedOperation.VpcMismatch": _moving("$one", "ins-one", "ins-other"),
    },
    "ModifyNetworkInterfaceAttribute": {
        "InvalidParameterValue": _on("$one", SecurityGroupIds=["sg-1", "sg-1"]),
        "InvalidParameterValue.Malformed": _on("one"),
        "InvalidParameterValue.TooLong": _on("$one", NetworkInterfaceName="é" * 31),
        "LimitExceeded": _on("$one", SecurityGroupIds=_SIX_GROUPS),
        "ResourceNotFound": _on("eni-no"),
        "UnsupportedOperation": _on("$one", TrunkingFlag="Enable"),
    },
    "AssociateNetworkInterfaceSecurityGroups": {
        "InvalidParameterValue.LimitExceeded": _groups(["$one"], ["sg-1"] * 101),
        "InvalidParameterValue.Malformed": _groups(["$one"], ["one"]),
        "LimitExceeded": _groups(["$one"], _SIX_GROUPS),
        "ResourceNotFound": _groups(["eni-no"], ["sg-1"]),
        "UnsupportedOperation": _groups(["$own"], ["sg-1"]),
    },
    "DisassociateNetworkInterfaceSecurityGroups": {
        "InvalidParameterValue.LimitExceeded": _groups(["eni-x"] * 101, ["sg-1"]),
        "InvalidParameterValue.Malformed": _groups(["one"], ["sg-1"]),
        "LimitExceeded": _groups(["$one"], _SIX_GROUPS),
        "ResourceNotFound": _groups(["$one"], ["sg-9"]),
        "UnsupportedOperation": _groups(["$own"], ["sg-1"]),
    },
    "AssignIpv6Addresses": _IPV6,
    "UnassignIpv6Addresses": _IPV6,
    "DescribeNetworkInterfaces": {**_chosen("NetworkInterfaceIds", "eni"), **_LOOKS},
    "DescribeSubnets": {
        **_chosen("SubnetIds", "subnet"),
        **_LOOKS,
        "InvalidParameterValue.Range": {"Limit": "101"},
        "InvalidParameterValue.Empty": _filter("vpc-id", []),
    },
    "DescribeNetworkInterfaceLimit": {
        "InvalidInstanceId.NotFound": {"InstanceId": "ins-no"},
        "InvalidParameterValue.Malformed": {"InstanceId": "one"},
        "ResourceNotFound": {"InstanceId": "eni-no"},
    },
    "DescribeVpcTaskResult": {
        "InvalidParameterValue": {"TaskId": ""},
        "ResourceNotFound": {"TaskId": "no"},
    },
    "DescribeVpcPrivateIpAddresses": {
        "InvalidParameterValue.LimitExceeded": {
            "VpcId": "vpc-one",
            "PrivateIpAddresses": [_USED] * 101,
        },
        "InvalidParameterValue.Malformed": {"VpcId": "vpc-one", "PrivateIpAddresses": ["ten"]},
        "ResourceNotFound": {"VpcId": "vpc-no", "PrivateIpAddresses": []},
    },
    "DescribeUsedIpAddress": {
        "InvalidParameter.Coexist": {
            "VpcId": "vpc-one",
            "IpAddresses": [_USED],
            **_filter("resource-id", ["x"]),
        },
        "InvalidParameter.FilterInvalidKey": {"VpcId": "vpc-one", **_filter("colour", ["x"])},
        "InvalidParameterValue.LimitExceeded": {
            "VpcId": "vpc-one",
            "IpAddresses": [_USED] * 101,
        },
        "InvalidParameterValue.Malformed": {"VpcId": "vpc-one", "IpAddresses": ["ten"]},
        "InvalidParameterValue.Range": {"VpcId": "vpc-one", "Offset": -1},
        "ResourceNotFound": {"VpcId": "vpc-no"},
    },
    "DescribeInstances": {
        "InvalidParameter.Coexist": {"InstanceIds": ["ins-one"], **_filter("zone", ["z"])},
        "InvalidFilter": _filter("colour", ["red"]),
        "InvalidInstanceId.Malformed": {"InstanceIds": ["one"]},
        "InvalidInstanceId.NotFound": {"InstanceIds": ["ins-no"]},
        "InvalidParameterValue.LimitExceeded": {"InstanceIds": ["ins-one"] * 101},
        "InvalidParameterValue.Range": {"Limit": 101},
    },
    "CreateReserveIpAddresses": {
        "InvalidParameterValue.DuplicatePara": _kept(IpAddresses=["10.0.1.99"] * 2),
        "InvalidParameterValue.LimitExceeded": _kept(IpAddresses=["10.0.1.99"] * 11),
        "InvalidParameterValue.Malformed": _kept(IpAddresses=["ten"]),
        "InvalidParameterValue.Range": _kept(IpAddresses=["10.0.9.1"]),
        "InvalidParameterValue.Reserved": _kept(IpAddresses=["10.0.1.1"]),
        "InvalidParameterValue.TooLong": _kept(IpAddressCount=1, Name="é" * 31),
        "LimitExceeded": _kept(IpAddressCount=9),
        "MissingParameter": _kept(),
        "ResourceInUse": _kept(IpAddresses=["$kept_address"]),
        "ResourceInsufficient.Subnet": _kept("subnet-small", IpAddressCount=5),
        "ResourceNotFound": _kept("subnet-no", IpAddressCount=1),
        "UnsupportedOperation.ResourceMismatch": _kept("subnet-two", IpAddressCount=1),
    },
    "DescribeReserveIpAddresses": _chosen("ReserveIpIds", "rsvip"),
    "DeleteReserveIpAddresses": {
        "InvalidParameterValue.Malformed": {"VpcId": "vpc-one", "ReserveIpIds": ["one"]},
        "MissingParameter": {"VpcId": "vpc-one", "ReserveIpIds": []},
        "ResourceInUse": {"VpcId": "vpc-one", "ReserveIpIds": ["$used"]},
        "ResourceNotFound": {"VpcId": "vpc-one", "ReserveIpIds": ["rsvip-no"]},
    },
    "AllocateAddresses": {
        "AddressQuotaLimitExceeded": {"AddressCount": 20},
        "AddressQuotaLimitExceeded.DailyAllocate": {"AddressCount": 15},
        "InvalidParameterValue.BandwidthOutOfRange": {"InternetMaxBandwidthOut": 9999},
    },
    "AssociateAddress": {
        "OperationDenied.MutexTaskRunning": _leading("$busy_eip", InstanceId="ins-one"),
        "UnsupportedOperation.AddressStatusNotPermit": _leading(
            "$bound_eip", InstanceId="ins-one"
        ),
        "InvalidAddressId.NotFound": _leading("eip-no", InstanceId="ins-one"),
        "InvalidNetworkInterfaceId.NotFound": _leading(
            "$free_eip", NetworkInterfaceId="eni-no", PrivateIpAddress=_USED
        ),
        "InvalidInstanceId.NotFound": _leading("$free_eip", InstanceId="ins-no"),
        "InvalidInstanceId.AlreadyBindEip": _leading("$free_eip", InstanceId="ins-two"),
        "InvalidPrivateIpAddress.AlreadyBindEip": _leading(
            "$free_eip", NetworkInterfaceId="$one", PrivateIpAddress="$address"
        ),
        "InvalidParameterConflict": _leading(
            "$free_eip", InstanceId="ins-one", NetworkInterfaceId="$one"
        ),
        "InvalidParameterValue.PrivateIpAddressNotMatch": _leading(
            "$free_eip", NetworkInterfaceId="$one", PrivateIpAddress="10.0.1.99"
        ),
        "InvalidParameterValue.Combination": _leading("$free_eip"),
    },
    "DisassociateAddress": {
        "OperationDenied.MutexTaskRunning": _leading("$busy_eip"),
        "InvalidAddressIdStatus.NotPermit": _leading("$free_eip"),
        "InvalidAddressId.NotFound": _leading("eip-no"),
    },
    "ReleaseAddresses": {
        "OperationDenied.MutexTaskRunning": {"AddressIds": ["$busy_eip"]},
        "InvalidAddressState": {"AddressIds": ["$bound_eip"]},
        "InvalidAddressId.NotFound": {"AddressIds": ["eip-no"]},
        "MissingParameter": {"AddressIds": []},
    },
    "DescribeAddresses": {
        **_chosen("AddressIds", "eip"),
        "InvalidAddressId.NotFound": {"AddressIds": ["eip-no"]},
    },
    "DescribeAddressQuota": {},
    "DescribeTaskResult": {
        "InvalidParameter": {"TaskId": "1"},
        "ResourceNotFound": {"TaskId": 999},
    },
}

# Calls that may be repeated under a token: one that is served, one that differs from it, and
# one that is refused.
TOKENED: Final[Mapping[str, tuple[Row, Row, Row]]] = {
    "CreateNetworkInterface": (
        NEW,
        {**NEW, "NetworkInterfaceName": "other"},
        {**NEW, "SubnetId": "subnet-no"},
    ),
    "CreateAndAttachNetworkInterface": (
        {**NEW, "InstanceId": "ins-one"},
        {**NEW, "InstanceId": "ins-two"},
        {**NEW, "InstanceId": "ins-no"},
    ),
    "AttachNetworkInterface": (
        _attaching("$free", "ins-one"),
        _attaching("$free", "ins-two"),
        _attaching("$free", "ins-no"),
    ),
    "DetachNetworkInterface": (
        _attaching("$one", "ins-one"),
        _attaching("$two", "ins-two"),
        _attaching("$one", "ins-no"),
    ),
    "AssignPrivateIpAddresses": (
        _on("$one", SecondaryPrivateIpAddressCount=1),
        _on("$one", SecondaryPrivateIpAddressCount=2),
        _on("eni-no", SecondaryPrivateIpAddressCount=1),
    ),
    "CreateReserveIpAddresses": (
        _kept(IpAddressCount=1),
        _kept(IpAddressCount=2),
        _kept("subnet-no", IpAddressCount=1),
    ),
    "AllocateAddresses": (
        {"AddressCount": 1},
        {"AddressCount": 2},
        {"InternetMaxBandwidthOut": 9999},
    ),
}


async def furnished(cloud: SimulatedCloud) -> dict[str, str]:
    """A cloud in which everything that a row needs is in the state that it needs."""
    grouped: dict[str, Any] = {"SecurityGroupIds": ["sg-1"]}
    roles = {
        "free": await cloud.created(**grouped),
        "bare": await cloud.created(),
        "small": await cloud.created("subnet-small", **grouped),
        "safe": await cloud.created(TerminationProtection=True),
        "one": await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1, **grouped),
        "two": await cloud.attached("ins-two", **grouped),
        "crowded": await cloud.attached("ins-two", SecondaryPrivateIpAddressCount=5, **grouped),
        "busy": await cloud.attached("ins-one", **grouped),
    }
    [roles["address"]] = await cloud.addresses(roles["one"])
    roles["primary"] = await cloud.primary_address(roles["one"])
    await _begin_changes(cloud, roles)
    await _keep_addresses(cloud, roles)
    await _lead_eips(cloud, roles)
    own: Any = await cloud.call(
        "DescribeNetworkInterfaces", Filters=[{"Name": "is-primary", "Values": ["true"]}]
    )
    roles["own"] = own.NetworkInterfaceSet[0].NetworkInterfaceId
    return roles


async def _begin_changes(cloud: SimulatedCloud, roles: dict[str, str]) -> None:
    """One ENI that is being made, and one whose addresses are being changed: for long."""
    for action in ("CreateNetworkInterface", "AssignPrivateIpAddresses"):
        await _stick(cloud, action)
    made: Any = await cloud.call("CreateNetworkInterface", **NEW)
    roles["pending"] = made.NetworkInterface.NetworkInterfaceId
    await cloud.call(
        "AssignPrivateIpAddresses",
        NetworkInterfaceId=roles["busy"],
        SecondaryPrivateIpAddressCount=1,
    )


async def _keep_addresses(cloud: SimulatedCloud, roles: dict[str, str]) -> None:
    kept: Any = await cloud.call(
        "CreateReserveIpAddresses",
        VpcId="vpc-one",
        SubnetId="subnet-a",
        IpAddresses=[roles["address"]],
        IpAddressCount=1,
    )
    used, idle = kept.ReserveIpAddressSet
    roles["used"], roles["kept"] = used.ReserveIpId, idle.ReserveIpId
    roles["kept_address"] = idle.ReserveIpAddress


async def _lead_eips(cloud: SimulatedCloud, roles: dict[str, str]) -> None:
    allocated: Any = await cloud.call("AllocateAddresses", AddressCount=3)
    await _eip_settled(cloud, allocated)
    roles["free_eip"], roles["bound_eip"], roles["busy_eip"] = allocated.AddressSet
    bound = await cloud.call(
        "AssociateAddress",
        AddressId=roles["bound_eip"],
        NetworkInterfaceId=roles["one"],
        PrivateIpAddress=roles["address"],
    )
    await _eip_settled(cloud, bound)
    await _stick(cloud, "AssociateAddress")
    await cloud.call("AssociateAddress", AddressId=roles["busy_eip"], InstanceId="ins-two")


async def _eip_settled(cloud: SimulatedCloud, answer: Any) -> None:
    async with asyncio.timeout(10):
        while True:
            found: Any = await cloud.call("DescribeTaskResult", TaskId=int(answer.TaskId))
            if found.Result != "RUNNING":
                return


async def _stick(cloud: SimulatedCloud, action: str) -> None:
    stuck = {"action": action, "kind": "stuck", "hold_ms": 600_000}
    status, answer = await cloud.admin("POST", "faults", stuck)
    assert status == 200, answer


def filled(row: Row, roles: Mapping[str, str]) -> dict[str, object]:
    """With what each `$name` stands for."""
    return {key: _filled(each, roles) for key, each in row.items()}


def _filled(value: object, roles: Mapping[str, str]) -> object:
    if isinstance(value, Mapping):
        return filled(value, roles)
    if isinstance(value, list):
        return [_filled(each, roles) for each in value]
    if isinstance(value, str) and value.startswith("$"):
        return roles[value[1:]]
    return value
