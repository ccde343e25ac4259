"""The actions that begin a change: their answer comes at once, the change follows as a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.vpc_simulator.api import parameters, shapes
from services.vpc_simulator.api.reads import ipv4
from services.vpc_simulator.api.selection import check_count
from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.model import address_operations, eni_moves, eni_operations
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eni_operations import NewAddress, NewEni
from services.vpc_simulator.model.enis import TaskId
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.names import check_id

ADDRESSES_MAX: Final = 10  # explicit ones a call; counts are bounded by the quota alone
NAME_BYTES_MAX: Final = 60
DESCRIPTION_CHARACTERS_MAX: Final = 60
TAGS_MAX: Final = 50
SECURITY_GROUPS_MAX: Final = 5
_QOS_LEVELS: Final = ("PT", "AU", "AG", "DEFAULT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who calls, when, and the id that the call's task will have."""

    task: TaskId
    account: str
    now: datetime


def create_eni(cloud: Cloud, asked: parameters.CreateNetworkInterface, call: Call) -> Json:
    eni = eni_operations.create_eni(cloud, _new_eni(asked, call), task=call.task, now=call.now)
    return {"NetworkInterface": shapes.eni(cloud, eni)}


def create_attached_eni(
    cloud: Cloud, asked: parameters.CreateAndAttachNetworkInterface, call: Call
) -> Json:
    eni = eni_moves.create_attached_eni(
        cloud,
        _new_eni(asked, call),
        check_id("InstanceId", asked.instance_id, "ins"),
        attach_type=asked.attach_type,
        task=call.task,
        now=call.now,
    )
    return {"NetworkInterface": shapes.eni(cloud, eni)}


def migrate_eni(cloud: Cloud, asked: parameters.MigrateNetworkInterface, call: Call) -> Json:
    eni_moves.migrate_eni(
        cloud,
        check_id("NetworkInterfaceId", asked.network_interface_id, "eni"),
        check_id("SourceInstanceId", asked.source_instance_id, "ins"),
        check_id("DestinationInstanceId", asked.destination_instance_id, "ins"),
        attach_type=asked.attach_type,
        task=call.task,
        now=call.now,
    )
    return {}


def refuse_ipv6(
    cloud: Cloud,
    asked: parameters.AssignIpv6Addresses | parameters.UnassignIpv6Addresses,
    call: Call,
) -> Json:
    cloud.eni(check_id("NetworkInterfaceId", asked.network_interface_id, "eni"))
    raise ApiFailure(Code.UNSUPPORTED, "Ipv6Addresses: these subnets have IPv4 only.")


def attach_eni(cloud: Cloud, asked: parameters.AttachNetworkInterface, call: Call) -> Json:
    eni_operations.attach_eni(
        cloud,
        check_id("NetworkInterfaceId", asked.network_interface_id, "eni"),
        check_id("InstanceId", asked.instance_id, "ins"),
        attach_type=asked.attach_type,
        task=call.task,
        now=call.now,
    )
    return {}


def detach_eni(cloud: Cloud, asked: parameters.DetachNetworkInterface, call: Call) -> Json:
    eni_operations.detach_eni(
        cloud,
        check_id("NetworkInterfaceId", asked.network_interface_id, "eni"),
        check_id("InstanceId", asked.instance_id, "ins"),
        task=call.task,
        now=call.now,
    )
    return {}


def delete_eni(cloud: Cloud, asked: parameters.DeleteNetworkInterface, call: Call) -> Json:
    eni_id = check_id("NetworkInterfaceId", asked.network_interface_id, "eni")
    eni_operations.delete_eni(cloud, eni_id, task=call.task, now=call.now)
    return {}


def assign(cloud: Cloud, asked: parameters.AssignPrivateIpAddresses, call: Call) -> Json:
    _check_qos(asked.qos_level)
    added = address_operations.assign(
        cloud,
        check_id("NetworkInterfaceId", asked.network_interface_id, "eni"),
        named=_addresses(asked.private_ip_addresses),
        count=asked.secondary_private_ip_address_count,
        qos_level=asked.qos_level,
        account=call.account,
        task=call.task,
        now=call.now,
    )
    return {"PrivateIpAddressSet": [shapes.address(cloud, each) for each in added]}


def unassign(cloud: Cloud, asked: parameters.UnassignPrivateIpAddresses, call: Call) -> Json:
    eni = cloud.eni(check_id("NetworkInterfaceId", asked.network_interface_id, "eni"))
    if asked.instance_id is not None:
        if eni.attachment is None or eni.attachment.instance != asked.instance_id:
            raise ApiFailure(Code.NOT_ATTACHED, f"{eni.id} is not on {asked.instance_id}.")
        raise ApiFailure(
            Code.UNSUPPORTED, "Unbinding the instance together with an address is not offered."
        )
    if not asked.private_ip_addresses:
        raise ApiFailure(Code.MISSING_PARAMETER, "PrivateIpAddresses is empty.")
    named = _addresses(asked.private_ip_addresses)
    address_operations.unassign(
        cloud, eni.id, [each.address for each in named], task=call.task, now=call.now
    )
    return {}


def migrate(cloud: Cloud, asked: parameters.MigratePrivateIpAddress, call: Call) -> Json:
    address_operations.migrate(
        cloud,
        check_id("SourceNetworkInterfaceId", asked.source_network_interface_id, "eni"),
        check_id(
            "DestinationNetworkInterfaceId", asked.destination_network_interface_id, "eni"
        ),
        ipv4(asked.private_ip_address),
        task=call.task,
        now=call.now,
    )
    return {}


def _addresses(asked: Sequence[parameters.AddressParameter]) -> tuple[NewAddress, ...]:
    check_count("PrivateIpAddresses", asked, ADDRESSES_MAX)
    return tuple(
        NewAddress(
            address=ipv4(each.private_ip_address),
            is_primary=each.primary,
            description=each.description,
        )
        for each in asked
    )


def check_texts(name: str, description: str) -> None:
    if len(name.encode()) > NAME_BYTES_MAX:
        raise ApiFailure(
            Code.TOO_LONG, f"NetworkInterfaceName is longer than {NAME_BYTES_MAX} bytes."
        )
    if len(description) > DESCRIPTION_CHARACTERS_MAX:
        raise ApiFailure(
            Code.TOO_LONG,
            f"NetworkInterfaceDescription is longer than {DESCRIPTION_CHARACTERS_MAX}.",
        )


def _new_eni(asked: parameters.CreateNetworkInterface, call: Call) -> NewEni:
    _check_new_eni(asked)
    return NewEni(
        vpc=check_id("VpcId", asked.vpc_id, "vpc"),
        subnet=check_id("SubnetId", asked.subnet_id, "subnet"),
        name=asked.network_interface_name,
        description=asked.network_interface_description,
        addresses=_addresses(asked.private_ip_addresses),
        secondary_count=asked.secondary_private_ip_address_count,
        security_groups=tuple(asked.security_group_ids),
        tags={tag.key: tag.value for tag in asked.tags},
        qos_level=asked.qos_level,
        account=call.account,
        termination_protection=asked.termination_protection,
        traffic_protection=asked.traffic_protection,
    )


def _check_new_eni(asked: parameters.CreateNetworkInterface) -> None:
    check_texts(asked.network_interface_name, asked.network_interface_description)
    check_count("Tags", asked.tags, TAGS_MAX)
    if any(not tag.key for tag in asked.tags):
        raise ApiFailure(Code.FILTER_INVALID_KEY, "Tags: a tag has no key.")
    check_count("SecurityGroupIds", asked.security_group_ids, SECURITY_GROUPS_MAX)
    _check_qos(asked.qos_level)
    if asked.ipv6_addresses or asked.ipv6_address_count:
        raise ApiFailure(Code.UNSUPPORTED, "Ipv6Addresses: these subnets have IPv4 only.")
    if asked.trunking_flag != "Disable" or asked.is_rdma:
        raise ApiFailure(Code.UNSUPPORTED, "Trunking and RDMA interfaces are not offered.")


def _check_qos(level: str) -> None:
    if level not in _QOS_LEVELS:
        raise ApiFailure(
            Code.INVALID_VALUE,
            f"QosLevel is `{level[:20]}`; allowed: {', '.join(_QOS_LEVELS)}.",
        )
