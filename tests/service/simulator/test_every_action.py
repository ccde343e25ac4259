"""Every action's success, by both clients of the official SDK: one life of a node's ENIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.vpc.v20170312 import models

from services.vpc_simulator.api.actions import ACTIONS
from tests.support.simulated_cloud import (
    CALL_TIMEOUT_S,
    REGION,
    SECRET_ID,
    SECRET_KEY,
    SimulatedCloud,
    profile,
)

# Subnets here have IPv4 only: these are refused, as docs/simulator.md tells.
_NEVER_SUCCEED: Final = {"AssignIpv6Addresses", "UnassignIpv6Addresses"}

NEW: Final = {"VpcId": "vpc-one", "SubnetId": "subnet-a", "NetworkInterfaceName": "eni"}


class Caller:
    """One client, and which actions it has called."""

    def __init__(self, cloud: SimulatedCloud, *, is_blocking: bool) -> None:
        self.called: set[str] = set()
        self._is_blocking = is_blocking
        self._vpc: Any = cloud.blocking_vpc() if is_blocking else cloud.vpc
        credential = Credential(SECRET_ID, SECRET_KEY)
        blocking = CommonClient(
            "cvm", "2017-03-12", credential, REGION, profile(cloud.endpoint)
        )
        self._cvm: Any = blocking if is_blocking else cloud.cvm

    async def __call__(self, action: str, **parameters: object) -> Any:
        """The answer, as JSON."""
        self.called.add(action)
        if ACTIONS[action].service == "cvm":
            by_name = self._cvm.call_json if self._is_blocking else None
            call = by_name or self._cvm.call_and_deserialize
            return (await self._answer(call, action, parameters))["Response"]
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        answer = await self._answer(getattr(self._vpc, action), request)
        return json.loads(answer.to_json_string())

    async def _answer(self, call: Callable[..., Any], *arguments: object) -> Any:
        if self._is_blocking:
            return await asyncio.to_thread(call, *arguments)
        return await call(*arguments)

    async def done(self, action: str, **parameters: object) -> Any:
        """Once the change that it began has ended, well."""
        answer = await self(action, **parameters)
        await self._until(
            lambda: self("DescribeVpcTaskResult", TaskId=answer["RequestId"]), "Status"
        )
        return answer

    async def eip_done(self, action: str, **parameters: object) -> Any:
        answer = await self(action, **parameters)
        number = int(answer["TaskId"])
        await self._until(lambda: self("DescribeTaskResult", TaskId=number), "Result")
        return answer

    async def _until(self, look: Callable[[], Awaitable[Any]], field: str) -> None:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            status = (await look())[field]
            while status == "RUNNING":
                status = (await look())[field]
        assert status == "SUCCESS"

    async def eni(self, eni: str) -> Any:
        found = await self("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])
        return next(iter(found["NetworkInterfaceSet"]), None)


@pytest.mark.parametrize("is_blocking", [True, False], ids=["blocking", "asynchronous"])
async def test_every_action_succeeds_and_its_effect_is_seen(
    cloud: SimulatedCloud, is_blocking: bool
) -> None:
    call = Caller(cloud, is_blocking=is_blocking)

    await _look_around(call)
    one, two = await _make_enis(call)
    await _group(call, one)
    address = await _change_addresses(call, one, two)
    await _lead_an_eip(call, two, address)
    await _keep_an_address(call)
    await _take_apart(call, one, two)

    assert call.called == ACTIONS.keys() - _NEVER_SUCCEED


async def _look_around(call: Caller) -> None:
    subnets = await call("DescribeSubnets", SubnetIds=["subnet-a"])
    instances = await call("DescribeInstances", InstanceIds=["ins-one"])
    limit = await call("DescribeNetworkInterfaceLimit", InstanceId="ins-one")
    assert [it["CidrBlock"] for it in subnets["SubnetSet"]] == ["10.0.1.0/24"]
    [instance] = instances["InstanceSet"]
    assert (instance["InstanceState"], limit["EniQuantity"]) == ("RUNNING", 2)


async def _make_enis(call: Caller) -> tuple[str, str]:
    made = await call.done("CreateNetworkInterface", **NEW, SecurityGroupIds=["sg-1"])
    one = made["NetworkInterface"]["NetworkInterfaceId"]
    await call.done("AttachNetworkInterface", NetworkInterfaceId=one, InstanceId="ins-one")
    both = await call.done("CreateAndAttachNetworkInterface", **NEW, InstanceId="ins-two")
    two = both["NetworkInterface"]["NetworkInterfaceId"]
    places = [(await call.eni(it))["Attachment"]["InstanceId"] for it in (one, two)]
    assert places == ["ins-one", "ins-two"]
    return one, two


async def _group(call: Caller, eni: str) -> None:
    named = {"NetworkInterfaceIds": [eni]}
    await call("AssociateNetworkInterfaceSecurityGroups", **named, SecurityGroupIds=["sg-2"])
    await call("DisassociateNetworkInterfaceSecurityGroups", **named, SecurityGroupIds=["sg-1"])
    await call(
        "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=eni, NetworkInterfaceName="new"
    )
    shown = await call.eni(eni)
    assert (shown["GroupSet"], shown["NetworkInterfaceName"]) == (["sg-2"], "new")


async def _change_addresses(call: Caller, one: str, two: str) -> str:
    assigned = await call.done(
        "AssignPrivateIpAddresses", NetworkInterfaceId=one, SecondaryPrivateIpAddressCount=2
    )
    moving, leaving = (it["PrivateIpAddress"] for it in assigned["PrivateIpAddressSet"])
    await call.done(
        "MigratePrivateIpAddress",
        SourceNetworkInterfaceId=one,
        DestinationNetworkInterfaceId=two,
        PrivateIpAddress=moving,
    )
    await call.done(
        "UnassignPrivateIpAddresses",
        NetworkInterfaceId=one,
        PrivateIpAddresses=[{"PrivateIpAddress": leaving}],
    )
    used = await call("DescribeUsedIpAddress", VpcId="vpc-one", IpAddresses=[moving, leaving])
    private = await call(
        "DescribeVpcPrivateIpAddresses",
        VpcId="vpc-one",
        PrivateIpAddresses=[moving, leaving],
    )
    places = [(it["IpAddress"], it["ResourceId"]) for it in used["IpAddressStates"]]
    assert places == [(moving, two)]
    shown = [it["PrivateIpAddress"] for it in private["VpcPrivateIpAddressSet"]]
    assert shown == [moving]
    return str(moving)


async def _lead_an_eip(call: Caller, eni: str, address: str) -> None:
    [eip] = (await call.eip_done("AllocateAddresses"))["AddressSet"]
    where = {"NetworkInterfaceId": eni, "PrivateIpAddress": address}
    await call.eip_done("AssociateAddress", AddressId=eip, **where)
    bound = (await call("DescribeAddresses", AddressIds=[eip]))["AddressSet"][0]
    await call.eip_done("DisassociateAddress", AddressId=eip)
    await call.eip_done("ReleaseAddresses", AddressIds=[eip])
    quota = await call("DescribeAddressQuota")
    assert (bound["AddressStatus"], bound["PrivateAddressIp"]) == ("BIND", address)
    assert [it["QuotaCurrent"] for it in quota["QuotaSet"]] == [0, 1]


async def _keep_an_address(call: Caller) -> None:
    kept = await call(
        "CreateReserveIpAddresses", VpcId="vpc-one", SubnetId="subnet-a", IpAddressCount=1
    )
    [name] = [it["ReserveIpId"] for it in kept["ReserveIpAddressSet"]]
    found = await call("DescribeReserveIpAddresses", ReserveIpIds=[name])
    await call("DeleteReserveIpAddresses", VpcId="vpc-one", ReserveIpIds=[name])
    left = await call("DescribeReserveIpAddresses")
    states = [it["State"] for it in found["ReserveIpAddressSet"]]
    assert (states, left["TotalCount"]) == (["UnBind"], 0)


async def _take_apart(call: Caller, one: str, two: str) -> None:
    await call.done("DetachNetworkInterface", NetworkInterfaceId=two, InstanceId="ins-two")
    await call.done(
        "MigrateNetworkInterface",
        NetworkInterfaceId=one,
        SourceInstanceId="ins-one",
        DestinationInstanceId="ins-two",
    )
    moved = (await call.eni(one))["Attachment"]["InstanceId"]
    await call.done("DeleteNetworkInterface", NetworkInterfaceId=two)
    assert (moved, await call.eni(two)) == ("ins-two", None)
