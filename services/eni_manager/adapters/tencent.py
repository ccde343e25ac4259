"""CloudApi over Tencent Cloud's official SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, Final

from tencentcloud.vpc.v20170312 import models

from services.eni_manager.adapters import tencent_shapes as shapes
from services.eni_manager.adapters.tencent_calls import TencentCalls, each_word, one_word
from shared.cloud.errors import CloudBusy, CloudDenied, CloudNotFound
from shared.cloud.port import (
    ADDRESSES_PER_CALL_MAX,
    ENIS_PER_DESCRIBE_MAX,
    INSTANCES_PER_DESCRIBE_MAX,
)
from shared.cloud.words import (
    Eni,
    EniQuota,
    Instance,
    NewEni,
    ReservedAddress,
    Subnet,
    UsedAddress,
)
from shared.ids import EniId, InstanceId, SubnetId, VpcId

USED_PER_PAGE_MAX: Final = 100
_PAGES_MAX: Final = 1000  # of 100 objects: more than a subnet or a cluster has


class TencentCloud(TencentCalls):
    """Implements CloudApi."""

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
            answer = await self.call("DescribeSubnets", self.vpc.DescribeSubnets, request)
            found += each_word(shapes.SubnetShape, answer.SubnetSet, "DescribeSubnets")
        return found

    async def describe_instances(self, instances: Sequence[InstanceId]) -> list[Instance]:
        assert len(instances) <= INSTANCES_PER_DESCRIBE_MAX, f"{len(instances)} in one call"
        action = "DescribeInstances"

        async def ask(parameters: dict[str, object]) -> Any:
            return await self.cvm.call_and_deserialize(action, parameters)

        asked = {"InstanceIds": list(instances), "Limit": INSTANCES_PER_DESCRIBE_MAX}
        try:
            answer = await self.call(action, ask, asked)
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
        return each_word(shapes.InstanceShape, answer["Response"].get("InstanceSet"), action)

    async def describe_quota(self, instance: InstanceId) -> EniQuota:
        action = "DescribeNetworkInterfaceLimit"
        request = models.DescribeNetworkInterfaceLimitRequest()
        request.InstanceId = instance
        answer = await self.call(action, self.vpc.DescribeNetworkInterfaceLimit, request)
        return one_word(shapes.QuotaShape, answer, action)

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
        answer = await self.call(action, self.vpc.DescribeVpcPrivateIpAddresses, request)
        found = each_word(shapes.UsedShape, answer.VpcPrivateIpAddressSet, action)
        return found[0] if found else None

    async def find_used_in(self, vpc: VpcId, subnet: SubnetId) -> list[UsedAddress]:
        action = "DescribeUsedIpAddress"
        found: list[UsedAddress] = []
        for page in range(_PAGES_MAX):
            request = models.DescribeUsedIpAddressRequest()
            request.VpcId, request.SubnetId = vpc, subnet
            request.Offset, request.Limit = page * USED_PER_PAGE_MAX, USED_PER_PAGE_MAX
            answer = await self.call(action, self.vpc.DescribeUsedIpAddress, request)
            shown = each_word(shapes.UsedInShape, answer.IpAddressStates, action)
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
        answer = await self.call(action, self.vpc.CreateNetworkInterface, request)
        return one_word(shapes.EniShape, answer.NetworkInterface, action)

    async def attach_eni(self, eni: EniId, instance: InstanceId, *, token: str) -> None:
        request = models.AttachNetworkInterfaceRequest()
        request.NetworkInterfaceId, request.InstanceId = eni, instance
        request.ClientToken = token
        await self.call("AttachNetworkInterface", self.vpc.AttachNetworkInterface, request)

    async def detach_eni(self, eni: EniId, instance: InstanceId, *, token: str) -> None:
        request = models.DetachNetworkInterfaceRequest()
        request.NetworkInterfaceId, request.InstanceId = eni, instance
        request.ClientToken = token
        await self.call("DetachNetworkInterface", self.vpc.DetachNetworkInterface, request)

    async def delete_eni(self, eni: EniId) -> None:
        request = models.DeleteNetworkInterfaceRequest()
        request.NetworkInterfaceId = eni
        await self.call("DeleteNetworkInterface", self.vpc.DeleteNetworkInterface, request)

    async def assign_count(self, eni: EniId, count: int, *, token: str) -> list[IPv4Address]:
        request = models.AssignPrivateIpAddressesRequest()
        request.NetworkInterfaceId, request.ClientToken = eni, token
        request.SecondaryPrivateIpAddressCount = count
        action = "AssignPrivateIpAddresses"
        answer = await self.call(action, self.vpc.AssignPrivateIpAddresses, request)
        found = each_word(shapes.AddressShape, answer.PrivateIpAddressSet, action)
        return [each.address for each in found]

    async def assign_address(self, eni: EniId, address: IPv4Address, *, token: str) -> None:
        request = models.AssignPrivateIpAddressesRequest()
        request.NetworkInterfaceId, request.ClientToken = eni, token
        request.PrivateIpAddresses = [_address(address)]
        await self.call("AssignPrivateIpAddresses", self.vpc.AssignPrivateIpAddresses, request)

    async def unassign(self, eni: EniId, addresses: Sequence[IPv4Address]) -> None:
        assert 0 < len(addresses) <= ADDRESSES_PER_CALL_MAX, f"{len(addresses)} in one call"
        request = models.UnassignPrivateIpAddressesRequest()
        request.NetworkInterfaceId = eni
        request.PrivateIpAddresses = [_address(each) for each in addresses]
        await self.call(
            "UnassignPrivateIpAddresses", self.vpc.UnassignPrivateIpAddresses, request
        )

    async def migrate(self, source: EniId, destination: EniId, address: IPv4Address) -> None:
        request = models.MigratePrivateIpAddressRequest()
        request.SourceNetworkInterfaceId = source
        request.DestinationNetworkInterfaceId = destination
        request.PrivateIpAddress = str(address)
        await self.call("MigratePrivateIpAddress", self.vpc.MigratePrivateIpAddress, request)

    async def reserve(
        self,
        vpc: VpcId,
        subnet: SubnetId,
        address: IPv4Address,
        *,
        tags: Mapping[str, str],
        token: str,
    ) -> None:
        request = models.CreateReserveIpAddressesRequest()
        request.VpcId, request.SubnetId = vpc, subnet
        request.IpAddresses = [str(address)]
        request.Tags = [_tag(key, value) for key, value in sorted(tags.items())]
        request.ClientToken = token
        await self.call("CreateReserveIpAddresses", self.vpc.CreateReserveIpAddresses, request)

    async def find_reserved(
        self, tags: Mapping[str, str], address: IPv4Address | None = None
    ) -> list[ReservedAddress]:
        action = "DescribeReserveIpAddresses"
        filters = [_filter(f"tag:{key}", [value]) for key, value in sorted(tags.items())]
        if address is not None:
            filters.append(_filter("address-ip", [str(address)]))
        found: list[ReservedAddress] = []
        for page in range(_PAGES_MAX):
            request = models.DescribeReserveIpAddressesRequest()
            request.Filters = filters
            request.Offset, request.Limit = page * USED_PER_PAGE_MAX, USED_PER_PAGE_MAX
            answer = await self.call(action, self.vpc.DescribeReserveIpAddresses, request)
            shown = each_word(shapes.ReservedShape, answer.ReserveIpAddressSet, action)
            found += shown
            if not shown or len(found) >= (answer.TotalCount or 0):
                return found
        raise CloudDenied(action, "TooMany", f"more than {len(found)} addresses are kept")

    async def release_reserved(self, reserved: ReservedAddress) -> None:
        request = models.DeleteReserveIpAddressesRequest()
        request.VpcId, request.ReserveIpIds = reserved.vpc, [reserved.reservation]
        await self.call("DeleteReserveIpAddresses", self.vpc.DeleteReserveIpAddresses, request)

    async def associate_groups(self, enis: Sequence[EniId], groups: Sequence[str]) -> None:
        action = "AssociateNetworkInterfaceSecurityGroups"
        request = models.AssociateNetworkInterfaceSecurityGroupsRequest()
        request.NetworkInterfaceIds, request.SecurityGroupIds = list(enis), list(groups)
        await self.call(action, self.vpc.AssociateNetworkInterfaceSecurityGroups, request)

    async def disassociate_groups(self, enis: Sequence[EniId], groups: Sequence[str]) -> None:
        action = "DisassociateNetworkInterfaceSecurityGroups"
        request = models.DisassociateNetworkInterfaceSecurityGroupsRequest()
        request.NetworkInterfaceIds, request.SecurityGroupIds = list(enis), list(groups)
        await self.call(action, self.vpc.DisassociateNetworkInterfaceSecurityGroups, request)

    async def _find(self, name: str, values: list[str]) -> list[Eni]:
        return await self._find_all([_filter(name, values)])

    async def _find_all(self, filters: list[Any]) -> list[Eni]:
        action = "DescribeNetworkInterfaces"
        found: dict[EniId, Eni] = {}
        total: int | None = None
        for page in range(_PAGES_MAX):
            request = models.DescribeNetworkInterfacesRequest()
            request.Filters = filters
            request.Offset = page * ENIS_PER_DESCRIBE_MAX
            request.Limit = ENIS_PER_DESCRIBE_MAX
            answer = await self.call(action, self.vpc.DescribeNetworkInterfaces, request)
            shown = each_word(shapes.EniShape, answer.NetworkInterfaceSet, action)
            found |= {each.eni: each for each in shown}
            if total not in (None, answer.TotalCount):
                # ENIs came or went between two pages: one may have slipped from page to page.
                raise CloudBusy(
                    action, "ListChanged", "the ENIs changed while they were listed"
                )
            total = answer.TotalCount or 0
            if len(found) >= total:
                return list(found.values())
        raise CloudDenied(action, "TooMany", f"more than {len(found)} ENIs match {filters}")


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
