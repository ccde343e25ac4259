"""The table of actions × (success, each documented error), by both clients of the official SDK.

Each error is asked for as a fault, so that the whole list is there whatever the cloud's own
state; which of them the cloud itself answers, and when, is told by the other files here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.vpc.v20170312 import models

from services.vpc_simulator.api.actions import ACTIONS
from tests.support.simulated_cloud import SimulatedCloud

_V: Final = "InvalidParameterValue"
_U: Final = "UnsupportedOperation"
_LIMITED: Final = "LimitExceeded.ActionLimited"

COMMON: Final = ("RequestLimitExceeded", "InternalError")
_IDEMPOTENT: Final = (f"{_U}.IdempotentParameterMismatch", f"{_U}.IdempotentProcessing")
_CREATE: Final = (
    "FailedOperation.NetDetectTimeOut",
    "InvalidParameter.FilterInvalidKey",
    "InvalidParameter.FilterNotDict",
    _V,
    *(
        f"{_V}.{each}"
        for each in ("LimitExceeded", "Malformed", "Range", "Reserved", "TooLong")
    ),
    "LimitExceeded",
    _LIMITED,
    "LimitExceeded.NetworkInterfaceLimitExceeded",
    "MissingParameter",
    "ResourceInUse",
    "ResourceInsufficient",
    "ResourceInsufficient.Subnet",
    "ResourceNotFound",
    _U,
    *_IDEMPOTENT,
    f"{_U}.ResourceMismatch",
)
_DESCRIBE: Final = (
    "InternalError.ModuleError",
    "InvalidParameter.Coexist",
    "InvalidParameter.FilterInvalidKey",
    "InvalidParameter.FilterNotDict",
    "InvalidParameter.FilterValuesNotList",
    f"{_V}.LimitExceeded",
    f"{_V}.Malformed",
    f"{_V}.Range",
    f"{_V}.NotUtf8EncodingError",
    _LIMITED,
    "ResourceNotFound",
    _U,
)
_EIP: Final = ("OperationDenied.MutexTaskRunning", f"{_U}.AddressStatusNotPermit")
_GROUPS: Final = (
    f"{_V}.LimitExceeded",
    f"{_V}.Malformed",
    "LimitExceeded",
    "ResourceNotFound",
    _U,
)

DOCUMENTED: Final[Mapping[str, tuple[str, ...]]] = {
    "CreateNetworkInterface": _CREATE,
    "CreateAndAttachNetworkInterface": _CREATE,
    "AttachNetworkInterface": (
        "InternalError.ModuleError",
        f"{_V}.Malformed",
        "LimitExceeded",
        _LIMITED,
        "ResourceNotFound",
        _U,
        *_IDEMPOTENT,
        *(
            f"{_U}.{each}"
            for each in (
                "AttachmentAlreadyExists",
                "InvalidState",
                "ResourceIsInvalidState",
                "UnsupportedInstanceFamily",
                "VpcMismatch",
                "ZoneMismatch",
            )
        ),
    ),
    "DetachNetworkInterface": (
        "InternalError.ModuleError",
        f"{_V}.Malformed",
        _LIMITED,
        "ResourceNotFound",
        _U,
        *_IDEMPOTENT,
        f"{_U}.InstanceAssociateHavip",
        f"{_U}.InvalidState",
    ),
    "DeleteNetworkInterface": (
        f"{_V}.Malformed",
        _LIMITED,
        "ResourceInUse",
        "ResourceNotFound",
        _U,
        f"{_U}.InvalidState",
    ),
    "AssignPrivateIpAddresses": (
        "FailedOperation.NetDetectTimeOut",
        *(
            f"{_V}.{each}"
            for each in ("DuplicatePara", "LimitExceeded", "Malformed", "Range", "Reserved")
        ),
        "LimitExceeded",
        _LIMITED,
        "MissingParameter",
        "ResourceInUse",
        "ResourceInsufficient",
        "ResourceInsufficient.Subnet",
        "ResourceNotFound",
        _U,
        *_IDEMPOTENT,
        f"{_U}.InvalidState",
        f"{_U}.MutexOperationTaskRunning",
        f"{_U}.ResourceMismatch",
    ),
    "UnassignPrivateIpAddresses": (
        f"{_V}.DuplicatePara",
        f"{_V}.LimitExceeded",
        f"{_V}.Malformed",
        _LIMITED,
        "ResourceNotFound",
        _U,
        f"{_U}.AttachmentNotFound",
        f"{_U}.InvalidState",
        f"{_U}.MutexOperationTaskRunning",
    ),
    "MigratePrivateIpAddress": (
        f"{_V}.Malformed",
        "LimitExceeded",
        "ResourceNotFound",
        "UnauthorizedOperation.AttachmentNotFound",
        "UnauthorizedOperation.PrimaryIp",
        _U,
        f"{_U}.MutexOperationTaskRunning",
        f"{_U}.PrimaryIp",
    ),
    "MigrateNetworkInterface": (
        f"{_V}.Malformed",
        "LimitExceeded",
        "ResourceNotFound",
        _U,
        f"{_U}.AttachmentNotFound",
        f"{_U}.VpcMismatch",
    ),
    "DescribeNetworkInterfaces": _DESCRIBE,
    "DescribeSubnets": (*_DESCRIBE, f"{_V}.Empty"),
    "DescribeNetworkInterfaceLimit": (
        "InternalError.ModuleError",
        "InternalServerError",
        "InvalidInstanceId.NotFound",
        f"{_V}.Malformed",
        _LIMITED,
        "ResourceNotFound",
    ),
    "DescribeVpcTaskResult": (
        "InternalError.ModuleError",
        _V,
        "ResourceNotFound",
        "UnauthorizedOperation",
        _U,
    ),
    "AssociateNetworkInterfaceSecurityGroups": _GROUPS,
    "DisassociateNetworkInterfaceSecurityGroups": _GROUPS,
    "AllocateAddresses": (
        "AddressQuotaLimitExceeded",
        "AddressQuotaLimitExceeded.DailyAllocate",
        "FailedOperation.BalanceInsufficient",
        f"{_V}.BandwidthOutOfRange",
        f"{_U}.DeliveryFailed",
    ),
    "AssociateAddress": (
        *_EIP,
        "InvalidAddressId.NotFound",
        "InvalidAddressId.Blocked",
        "InvalidNetworkInterfaceId.NotFound",
        "InvalidInstanceId.NotFound",
        "InvalidInstanceId.AlreadyBindEip",
        "InvalidPrivateIpAddress.AlreadyBindEip",
        "InvalidParameterConflict",
        f"{_V}.PrivateIpAddressNotMatch",
        f"{_V}.NetworkInterfaceNotFound",
        f"{_V}.Combination",
        "LimitExceeded.InstanceAddressQuota",
        "OperationDenied.AddressInArrears",
        "FailedOperation.TaskFailed",
    ),
    "DisassociateAddress": (*_EIP, "InvalidAddressIdStatus.NotPermit"),
    "ReleaseAddresses": (*_EIP, "InvalidAddressState"),
}


async def refused(cloud: SimulatedCloud, action: str, *, blocking: bool) -> str:
    """By a call that says nothing: the fault strikes before its parameters are read."""
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps({}))
    if blocking:
        answer = asyncio.to_thread(getattr(cloud.blocking_vpc(), action), request)
    else:
        answer = getattr(cloud.vpc, action)(request)
    with pytest.raises(TencentCloudSDKException) as caught:
        await answer
    return str(caught.value.code)


@pytest.mark.parametrize("action", [each for each in ACTIONS if ACTIONS[each].service == "vpc"])
async def test_each_documented_error_reaches_both_clients_and_changes_nothing(
    cloud: SimulatedCloud, action: str
) -> None:
    codes = [*COMMON, *DOCUMENTED.get(action, ("ResourceNotFound", _U))]
    await cloud.admin("POST", "rates", {"rates_per_s": {action: 1000}})
    before = (await cloud.admin("GET", "state"))[1]

    answered: list[tuple[str, str]] = []
    for code in codes:
        fault = {"action": action, "kind": "refuse", "code": code, "count": 2}
        status, _ = await cloud.admin("POST", "faults", fault)
        assert status == 200, code
        answered.append(
            (
                await refused(cloud, action, blocking=True),
                await refused(cloud, action, blocking=False),
            )
        )

    assert answered == [(code, code) for code in codes]
    assert (await cloud.admin("GET", "state"))[1] == before


async def both(cloud: SimulatedCloud, action: str, **parameters: object) -> list[Any]:
    """The same action by the blocking client, then by the other."""
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    first = await asyncio.to_thread(getattr(cloud.blocking_vpc(), action), request)
    return [first, await cloud.call(action, **parameters)]


@pytest.mark.parametrize(
    ("action", "parameters"),
    [
        ("DescribeSubnets", {}),
        ("DescribeNetworkInterfaces", {}),
        ("DescribeNetworkInterfaceLimit", {"InstanceId": "ins-one"}),
        (
            "DescribeVpcPrivateIpAddresses",
            {"VpcId": "vpc-one", "PrivateIpAddresses": ["10.0.1.2"]},
        ),
        ("DescribeUsedIpAddress", {"VpcId": "vpc-one"}),
        ("DescribeReserveIpAddresses", {}),
        ("DescribeAddresses", {}),
        ("DescribeAddressQuota", {}),
        (
            "CreateNetworkInterface",
            {
                "VpcId": "vpc-one",
                "SubnetId": "subnet-a",
                "NetworkInterfaceName": "eni",
                "ClientToken": "t",
            },
        ),
        (
            "CreateAndAttachNetworkInterface",
            {
                "VpcId": "vpc-one",
                "SubnetId": "subnet-a",
                "NetworkInterfaceName": "eni",
                "InstanceId": "ins-one",
                "ClientToken": "t",
            },
        ),
        (
            "CreateReserveIpAddresses",
            {
                "VpcId": "vpc-one",
                "SubnetId": "subnet-a",
                "IpAddressCount": 1,
                "ClientToken": "t",
            },
        ),
        ("AllocateAddresses", {"ClientToken": "t"}),
    ],
)
async def test_both_clients_get_the_same_answer(
    cloud: SimulatedCloud, action: str, parameters: dict[str, object]
) -> None:
    answers = [
        json.loads(each.to_json_string()) for each in await both(cloud, action, **parameters)
    ]

    ids = [answer.pop("RequestId") for answer in answers]
    assert answers[0] == answers[1]
    assert all(ids)


async def test_the_table_has_no_action_that_is_not_answered() -> None:
    assert DOCUMENTED.keys() <= ACTIONS.keys()
