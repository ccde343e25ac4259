"""The cloud's objects as the API writes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.enis import MAIN_ACCOUNT, Eni, PrivateAddress
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.states import EniState
from services.vpc_simulator.model.subnets import Subnet
from services.vpc_simulator.model.tasks import Task

Json = dict[str, object]

_VPC_TIMEZONE: Final = timezone(timedelta(hours=8))  # the VPC API writes Beijing time, unmarked


def eni(cloud: Cloud, it: Eni) -> Json:
    state: str = it.state
    if it.state is EniState.AVAILABLE and it.attachment is not None:
        state = "INUSE"
    return {
        "NetworkInterfaceId": it.id,
        "NetworkInterfaceName": it.name,
        "NetworkInterfaceDescription": it.description,
        "SubnetId": it.subnet,
        "VpcId": it.vpc,
        "GroupSet": list(it.security_groups),
        "Primary": it.is_primary,
        "MacAddress": it.mac.upper(),
        "State": it.state,
        "NetworkInterfaceState": state,
        "PrivateIpAddressSet": [address(cloud, each) for each in it.addresses.values()],
        "Attachment": _attachment(it),
        "Zone": it.zone,
        "CreatedTime": vpc_time(it.created_at),
        "Ipv6AddressSet": [],
        "TagSet": tags(it.tags),
        "EniType": int(it.is_primary),
        "Business": "cvm",
        "CdcId": "",
        "AttachType": 0,
        "ResourceId": "",
        "QosLevel": it.qos_level,
    }


def _attachment(it: Eni) -> Json | None:
    if it.attachment is None:
        return None
    return {
        "InstanceId": it.attachment.instance,
        "DeviceIndex": it.attachment.device_index,
        "InstanceAccountId": MAIN_ACCOUNT,
        "AttachTime": vpc_time(it.attachment.attached_at),
    }


def address(cloud: Cloud, it: PrivateAddress) -> Json:
    eip = cloud.eip_at(it.address)
    return {
        "PrivateIpAddress": str(it.address),
        "Primary": it.is_primary,
        "PublicIpAddress": str(eip.public_address) if eip else "",
        "AddressId": eip.id if eip else "",
        "Description": it.description,
        "IsWanIpBlocked": False,
        "State": it.state,
        "QosLevel": it.qos_level,
    }


def subnet(it: Subnet) -> Json:
    return {
        "VpcId": it.vpc,
        "SubnetId": it.id,
        "SubnetName": it.name,
        "CidrBlock": str(it.cidr),
        "IsDefault": False,
        "EnableBroadcast": False,
        "Zone": it.zone,
        "RouteTableId": "rtb-default",
        "CreatedTime": vpc_time(it.created_at),
        "AvailableIpAddressCount": it.available,
        "TotalIpAddressCount": it.total,
        "Ipv6CidrBlock": "",
        "NetworkAclId": "",
        "IsRemoteVpcSnat": False,
        "TagSet": [],
        "CdcId": "",
        "IsCdcSubnet": 0,
    }


def instance(cloud: Cloud, it: Instance) -> Json:
    """As CVM's DescribeInstances has it."""
    eip = cloud.eip_at(it.primary_address)
    return {
        "InstanceId": it.id,
        "InstanceName": it.name,
        "InstanceState": it.state,
        "InstanceType": it.type,
        "CPU": it.cores,
        "Memory": it.memory_gib,
        "Placement": {"Zone": it.zone, "ProjectId": 0},
        "VirtualPrivateCloud": {
            "VpcId": it.vpc,
            "SubnetId": it.subnet,
            "AsVpcGateway": False,
        },
        "PrivateIpAddresses": [str(it.primary_address)],
        "PublicIpAddresses": [str(eip.public_address)] if eip else None,
        "SecurityGroupIds": [],
        "RestrictState": "NORMAL",
        "CreatedTime": it.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Tags": [],
    }


def task(it: Task) -> Json:
    return {
        "Status": it.status,
        "Output": it.output,
        "Result": [{"ResourceId": each, "Status": it.status} for each in it.resources],
    }


def tags(it: Mapping[str, str]) -> list[Json]:
    return [{"Key": key, "Value": value} for key, value in it.items()]


def vpc_time(moment: datetime) -> str:
    return moment.astimezone(_VPC_TIMEZONE).strftime("%Y-%m-%d %H:%M:%S")
