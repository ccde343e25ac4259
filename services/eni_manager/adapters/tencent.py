"""CloudApi over Tencent Cloud's official SDK, its asynchronous clients.

The SDK sees an API error only when the Content-Type is exactly ``application/json``; with any
other an error would look like an empty success, so those answers are refused here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, Final, TypeVar

import httpx
from pydantic import ValidationError
from tencentcloud.common.common_client_async import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.vpc.v20170312 import models
from tencentcloud.vpc.v20170312.vpc_client_async import VpcClient

from services.eni_manager.adapters import tencent_shapes as shapes
from services.eni_manager.adapters.pace import Pace
from services.eni_manager.adapters.tencent_access import (
    TencentAccess,
    profile,
    refuse_other_types,
)
from services.eni_manager.adapters.tencent_errors import error_of_code
from services.eni_manager.domain.errands import check_right
from shared.cloud.errors import (
    CloudAway,
    CloudDenied,
    CloudError,
    CloudNotFound,
    CloudThrottled,
)
from shared.cloud.port import (
    ADDRESSES_PER_CALL_MAX,
    ENIS_PER_DESCRIBE_MAX,
    INSTANCES_PER_DESCRIBE_MAX,
)
from shared.cloud.words import Eni, EniQuota, Instance, NewEni, Subnet, UsedAddress
from shared.ids import EniId, InstanceId, SubnetId, VpcId
from shared.telemetry.metrics import CLOUD_CALL_SECONDS, CLOUD_THROTTLE_WAIT_SECONDS

T = TypeVar("T")

USED_PER_PAGE_MAX: Final = 100

_CVM_VERSION: Final = "2017-03-12"
_PAGES_MAX: Final = 1000  # of 100 objects: more than a subnet or a cluster has


class TencentCloud:
    """Implements CloudApi. One pair of clients, connections kept alive."""

    def __init__(self, access: TencentAccess, pace: Pace) -> None:
        credential = Credential(access.secret_id, access.secret_key)
        self._vpc = VpcClient(credential, access.region, profile(access))
        self._cvm = CommonClient(
            "cvm", _CVM_VERSION, credential, access.region, profile(access)
        )
        for client in (self._vpc, self._cvm):
            client.http_client.event_hooks = {
                "request": [_check_right],
                "response": [refuse_other_types],
            }
        self._timeout_s = access.timeout_s
        self._pace = pace

    async def aclose(self) -> None:
        await self._vpc.close()
        await self._cvm.close()

    async def describe_subnets(self, subnets: Sequence[SubnetId]) -> list[Subnet]:
        if not subnets:
            return []
        found: list[Subnet] = []
        for start in range(0, len(subnets), ENIS_PER_DESCRIBE_MAX):
            request = models.DescribeSubnetsRequest()
            # A filter, not SubnetIds: one that is gone must not hide the others.
            request.Filters = [
                _filter("subnet-id", list(subnets[start : start + ENIS_PER_DESCRIBE_MAX]))
            ]
            request.Offset, request.Limit = "0", str(ENIS_PER_DESCRIBE_MAX)
            answer = await self._call("DescribeSubnets", self._vpc.DescribeSubnets, request)
            found += _each(shapes.SubnetShape, answer.SubnetSet, "DescribeSubnets")
        return found

    async def describe_instances(self, instances: Sequence[InstanceId]) -> list[Instance]:
        assert len(instances) <= INSTANCES_PER_DESCRIBE_MAX, f"{len(instances)} in one call"
        action = "DescribeInstances"

        async def ask(parameters: dict[str, object]) -> Any:
            return await self._cvm.call_and_deserialize(action, parameters)

        asked = {"InstanceIds": list(instances), "Limit": INSTANCES_PER_DESCRIBE_MAX}
        try:
            answer = await self._call(action, ask, asked)
        except (CloudNotFound, CloudDenied) as error:
            if not error.cloud_code.startswith("InvalidInstanceId"):
                raise
            if len(instances) <= 1:
                return []
            # One that is gone, or was never one, must not hide the others.
            middle = len(instances) // 2
            return [
                *await self.describe_instances(instances[:middle]),
                *await self.describe_instances(instances[middle:]),
            ]
        return _each(shapes.InstanceShape, answer["Response"].get("InstanceSet"), action)

    async def describe_quota(self, instance: InstanceId) -> EniQuota:
        action = "DescribeNetworkInterfaceLimit"
        request = models.DescribeNetworkInterfaceLimitRequest()
        request.InstanceId = instance
        answer = await self._call(action, self._vpc.DescribeNetworkInterfaceLimit, request)
        return _one(shapes.QuotaShape, answer, action)

    async def describe_enis(self, enis: Sequence[EniId]) -> list[Eni]:
        assert len(enis) <= ENIS_PER_DESCRIBE_MAX, f"{len(enis)} ENIs in one call"
        return await self._find("network-interface-id", list(enis)) if enis else []

    async def find_enis_on(self, instances: Sequence[InstanceId]) -> list[Eni]:
        return await self._find("attachment.instance-id", list(instances))

    async def find_enis_tagged(self, tags: Mapping[str, str]) -> list[Eni]:
        return await self._find_all(
            [_filter(f"tag:{key}", [value]) for key, value in sorted(tags.items())]
        )

    async def find_eni_of(self, vpc: VpcId, address: IPv4Address) -> Eni | None:
        # With one value the filter matches suffixes, so what comes back is looked at again.
        found = await self._find_all(
            [_filter("vpc-id", [vpc]), _filter("address-ip", [str(address)])]
        )
        return next((eni for eni in found if eni.phase_of(address) is not None), None)

    async def find_used(self, vpc: VpcId, address: IPv4Address) -> UsedAddress | None:
        action = "DescribeVpcPrivateIpAddresses"
        request = models.DescribeVpcPrivateIpAddressesRequest()
        request.VpcId, request.PrivateIpAddresses = vpc, [str(address)]
        answer = await self._call(action, self._vpc.DescribeVpcPrivateIpAddresses, request)
        found = _each(shapes.UsedShape, answer.VpcPrivateIpAddressSet, action)
        return found[0] if found else None

    async def find_used_in(self, vpc: VpcId, subnet: SubnetId) -> list[UsedAddress]:
        action = "DescribeUsedIpAddress"
        found: list[UsedAddress] = []
        for page in range(_PAGES_MAX):
            request = models.DescribeUsedIpAddressRequest()
            request.VpcId, request.SubnetId = vpc, subnet
            request.Offset, request.Limit = page * USED_PER_PAGE_MAX, USED_PER_PAGE_MAX
            answer = await self._call(action, self._vpc.DescribeUsedIpAddress, request)
            shown = _each(shapes.UsedInShape, answer.IpAddressStates, action)
            found += shown
            if not shown or len(found) >= (answer.TotalCount or 0):
                return found
        raise CloudDenied(action, "TooMany", f"more than {len(found)} addresses in {subnet}")

    async def create_eni(self, new: NewEni) -> Eni:
        action = "CreateNetworkInterface"
        request = models.CreateNetworkInterfaceRequest()
        request.VpcId, request.SubnetId = new.vpc, new.subnet
        request.NetworkInterfaceName = new.name
        if new.secondary_count:
            request.SecondaryPrivateIpAddressCount = new.secondary_count
        if new.security_groups:
            request.SecurityGroupIds = list(new.security_groups)
        request.Tags = [_tag(key, value) for key, value in sorted(new.tags.items())]
        request.ClientToken = new.token
        answer = await self._call(action, self._vpc.CreateNetworkInterface, request)
        return _one(shapes.EniShape, answer.NetworkInterface, action)

    async def attach_eni(self, eni: EniId, instance: InstanceId, *, token: str) -> None:
        request = models.AttachNetworkInterfaceRequest()
        request.NetworkInterfaceId, request.InstanceId = eni, instance
        request.ClientToken = token
        await self._call("AttachNetworkInterface", self._vpc.AttachNetworkInterface, request)

    async def detach_eni(self, eni: EniId, instance: InstanceId, *, token: str) -> None:
        request = models.DetachNetworkInterfaceRequest()
        request.NetworkInterfaceId, request.InstanceId = eni, instance
        request.ClientToken = token
        await self._call("DetachNetworkInterface", self._vpc.DetachNetworkInterface, request)

    async def delete_eni(self, eni: EniId) -> None:
        request = models.DeleteNetworkInterfaceRequest()
        request.NetworkInterfaceId = eni
        await self._call("DeleteNetworkInterface", self._vpc.DeleteNetworkInterface, request)

    async def assign_count(self, eni: EniId, count: int, *, token: str) -> list[IPv4Address]:
        request = models.AssignPrivateIpAddressesRequest()
        request.NetworkInterfaceId, request.ClientToken = eni, token
        request.SecondaryPrivateIpAddressCount = count
        action = "AssignPrivateIpAddresses"
        answer = await self._call(action, self._vpc.AssignPrivateIpAddresses, request)
        found = _each(shapes.AddressShape, answer.PrivateIpAddressSet, action)
        return [each.address for each in found]

    async def assign_address(self, eni: EniId, address: IPv4Address, *, token: str) -> None:
        request = models.AssignPrivateIpAddressesRequest()
        request.NetworkInterfaceId, request.ClientToken = eni, token
        request.PrivateIpAddresses = [_address(address)]
        await self._call(
            "AssignPrivateIpAddresses", self._vpc.AssignPrivateIpAddresses, request
        )

    async def unassign(self, eni: EniId, addresses: Sequence[IPv4Address]) -> None:
        assert 0 < len(addresses) <= ADDRESSES_PER_CALL_MAX, f"{len(addresses)} in one call"
        request = models.UnassignPrivateIpAddressesRequest()
        request.NetworkInterfaceId = eni
        request.PrivateIpAddresses = [_address(each) for each in addresses]
        await self._call(
            "UnassignPrivateIpAddresses", self._vpc.UnassignPrivateIpAddresses, request
        )

    async def migrate(self, source: EniId, destination: EniId, address: IPv4Address) -> None:
        request = models.MigratePrivateIpAddressRequest()
        request.SourceNetworkInterfaceId = source
        request.DestinationNetworkInterfaceId = destination
        request.PrivateIpAddress = str(address)
        await self._call("MigratePrivateIpAddress", self._vpc.MigratePrivateIpAddress, request)

    async def _find(self, name: str, values: list[str]) -> list[Eni]:
        return await self._find_all([_filter(name, values)])

    async def _find_all(self, filters: list[Any]) -> list[Eni]:
        action = "DescribeNetworkInterfaces"
        found: list[Eni] = []
        for page in range(_PAGES_MAX):
            request = models.DescribeNetworkInterfacesRequest()
            request.Filters = filters
            request.Offset = page * ENIS_PER_DESCRIBE_MAX
            request.Limit = ENIS_PER_DESCRIBE_MAX
            answer = await self._call(action, self._vpc.DescribeNetworkInterfaces, request)
            found += _each(shapes.EniShape, answer.NetworkInterfaceSet, action)
            if len(found) >= (answer.TotalCount or 0):
                return found
        raise CloudDenied(action, "TooMany", f"more than {len(found)} ENIs match {filters}")

    async def _call(
        self, action: str, send: Callable[[Any], Awaitable[Any]], request: object
    ) -> Any:
        asked_s = time.monotonic()
        await self._pace.turn(action)
        began_s = time.monotonic()
        CLOUD_THROTTLE_WAIT_SECONDS.labels(action).observe(began_s - asked_s)
        outcome = "unsent"
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await send(request)
            outcome = "ok"
            return answer
        except (TencentCloudSDKException, httpx.HTTPError, OSError, TimeoutError) as error:
            failure = _failure(action, error)
            outcome = type(failure).__name__
            if isinstance(failure, CloudThrottled):
                await self._pace.throttled(action)
            raise failure from error
        except (ValueError, KeyError, TypeError) as error:
            outcome = "unreadable"
            raise CloudAway(action, "Unreadable", f"not the API's shape: {error}") from error
        finally:
            CLOUD_CALL_SECONDS.labels(action, outcome).observe(time.monotonic() - began_s)


async def _check_right(_: httpx.Request) -> None:
    """Right before it is sent, and after it was signed: see `check_right`."""
    check_right()


def _failure(action: str, error: Exception) -> CloudError:
    if isinstance(error, TencentCloudSDKException):
        message = error.message
        text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
        return error_of_code(action, str(error.code), text[:300], str(error.requestId or ""))
    return CloudAway(action, "NoAnswer", str(error) or type(error).__name__)


def _filter(name: str, values: list[str]) -> Any:
    made = models.Filter()
    made.Name, made.Values = name, values
    return made


def _tag(key: str, value: str) -> Any:
    made = models.Tag()
    made.Key, made.Value = key, value
    return made


def _address(address: IPv4Address) -> Any:
    made = models.PrivateIpAddressSpecification()
    made.PrivateIpAddress = str(address)
    return made


def _one(shape: type[shapes.Shape[T]], found: object, action: str) -> T:
    try:
        return shape.model_validate(_plain(found)).to_word()
    except ValidationError as error:
        raise CloudAway(action, "Unreadable", f"not the API's shape: {error}") from error


def _each(shape: type[shapes.Shape[T]], found: Any, action: str) -> list[T]:
    return [_one(shape, each, action) for each in found or ()]


def _plain(found: Any) -> object:
    """The SDK's models as the JSON they came from; CVM's answers are that already."""
    return found if isinstance(found, dict) else json.loads(found.to_json_string())
