"""The actions on EIPs: their tasks have numbers, and codes of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Final

from services.vpc_simulator.api import parameters, shapes
from services.vpc_simulator.api.reads import ipv4
from services.vpc_simulator.api.selection import (
    Matcher,
    check_count,
    chosen_ids,
    matching,
    page,
)
from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.api.writes import TAGS_MAX, Call
from services.vpc_simulator.model import eip_operations
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eip_operations import NewEips
from services.vpc_simulator.model.eips import Eip, EipState
from services.vpc_simulator.model.failures import ApiFailure, Code, not_found
from services.vpc_simulator.model.names import check_id

_PROVIDERS: Final = ("BGP", "CMCC", "CTCC", "CUCC")
_COUNT_MAX: Final = 20  # of one call


def allocate(cloud: Cloud, asked: parameters.AllocateAddresses, call: Call) -> Json:
    if asked.internet_service_provider not in _PROVIDERS:
        raise ApiFailure(
            Code.INVALID_VALUE, f"InternetServiceProvider: one of {', '.join(_PROVIDERS)}."
        )
    if asked.address_type != "EIP":
        raise ApiFailure(Code.UNSUPPORTED, "AddressType: only EIP is offered.")
    if asked.address_count > _COUNT_MAX:
        raise ApiFailure(Code.VALUE_LIMIT_EXCEEDED, f"AddressCount: at most {_COUNT_MAX}.")
    check_count("Tags", asked.tags, TAGS_MAX)
    made, task = eip_operations.allocate(
        cloud,
        NewEips(
            account=call.account,
            count=asked.address_count,
            name=asked.address_name,
            provider=asked.internet_service_provider,
            charge_type=asked.internet_charge_type,
            bandwidth_mbps=asked.internet_max_bandwidth_out,
            tags={tag.key: tag.value for tag in asked.tags},
        ),
        task=call.task,
        now=call.now,
    )
    return {"AddressSet": [eip.id for eip in made], "TaskId": str(task.number)}


def associate(cloud: Cloud, asked: parameters.AssociateAddress, call: Call) -> Json:
    """With an instance, or with an address of an ENI: one of the two."""
    eip_id = check_id("AddressId", asked.address_id, "eip")
    has_eni = asked.network_interface_id is not None
    if asked.instance_id is not None and has_eni:
        raise ApiFailure(
            Code.PARAMETER_CONFLICT, "InstanceId and NetworkInterfaceId exclude each other."
        )
    if asked.instance_id is not None:
        task = eip_operations.associate_with_instance(
            cloud,
            eip_id,
            check_id("InstanceId", asked.instance_id, "ins"),
            account=call.account,
            is_direct=asked.eip_direct_connection,
            task=call.task,
            now=call.now,
        )
        return {"TaskId": str(task.number)}
    if asked.network_interface_id is None or asked.private_ip_address is None:
        raise ApiFailure(
            Code.COMBINATION, "InstanceId, or NetworkInterfaceId with PrivateIpAddress."
        )
    task = eip_operations.associate_with_address(
        cloud,
        eip_id,
        check_id("NetworkInterfaceId", asked.network_interface_id, "eni"),
        ipv4(asked.private_ip_address),
        account=call.account,
        is_direct=asked.eip_direct_connection,
        task=call.task,
        now=call.now,
    )
    return {"TaskId": str(task.number)}


def disassociate(cloud: Cloud, asked: parameters.DisassociateAddress, call: Call) -> Json:
    task = eip_operations.disassociate(
        cloud,
        check_id("AddressId", asked.address_id, "eip"),
        account=call.account,
        task=call.task,
        now=call.now,
    )
    return {"TaskId": str(task.number)}


def release(cloud: Cloud, asked: parameters.ReleaseAddresses, call: Call) -> Json:
    if not chosen_ids("AddressIds", asked.address_ids, (), "eip"):
        raise ApiFailure(Code.MISSING_PARAMETER, "AddressIds is empty.")
    task = eip_operations.release(
        cloud, asked.address_ids, account=call.account, task=call.task, now=call.now
    )
    return {"TaskId": str(task.number)}


def describe(cloud: Cloud, asked: parameters.DescribeAddresses, call: Call) -> Json:
    """The caller's own. Ids that do not exist are refused."""
    ids = chosen_ids("AddressIds", asked.address_ids, asked.filters, "eip")
    for each in sorted(ids):
        eip_operations.owned(cloud, each, call.account)
    own = [each for each in cloud.eips.values() if each.account == call.account]
    chosen = [each for each in own if not ids or each.id in ids]
    found = matching(chosen, asked.filters, _filters(cloud), lambda each: each.tags)
    shown = page(found, offset=asked.offset, limit=asked.limit)
    return {"TotalCount": len(found), "AddressSet": [_shape(cloud, each) for each in shown]}


def describe_quota(cloud: Cloud, asked: parameters.DescribeAddressQuota, call: Call) -> Json:
    held = eip_operations.held(cloud, call.account)
    applied = eip_operations.applied(cloud, call.account, call.now)
    return {
        "QuotaSet": [
            _quota("TOTAL_EIP_QUOTA", held, cloud.limits.eips_per_account),
            _quota("DAILY_EIP_APPLY", applied, cloud.limits.eips_per_day),
        ]
    }


def describe_task(cloud: Cloud, asked: parameters.DescribeTaskResult) -> Json:
    task = cloud.tasks.numbered(asked.task_id)
    if task is None:
        raise not_found("task", str(asked.task_id))
    return {"TaskId": task.number, "Result": task.status}


def _filters(cloud: Cloud) -> Mapping[str, Matcher[Eip]]:
    def shown(field: str) -> Matcher[Eip]:
        def matches(it: Eip, values: Sequence[str]) -> bool:
            return str(_shape(cloud, it)[field]) in values

        return matches

    return {
        "address-id": shown("AddressId"),
        "address-name": shown("AddressName"),
        "address-ip": shown("AddressIp"),
        "address-status": shown("AddressStatus"),
        "instance-id": shown("InstanceId"),
        "private-ip-address": shown("PrivateAddressIp"),
        "network-interface-id": shown("NetworkInterfaceId"),
        "instance-type": shown("InstanceType"),
        "address-isp": shown("InternetServiceProvider"),
        "is-arrears": lambda _, values: "FALSE" in [each.upper() for each in values],
    }


def _shape(cloud: Cloud, it: Eip) -> Json:
    eni = eip_operations.eni_of(cloud, it)
    instance = eni.attachment.instance if eni is not None and eni.attachment else None
    status: str = it.state
    if it.state is EipState.BIND and instance is None:
        status = "BIND_ENI"
    kind = "" if eni is None else "CVM" if instance else "ENI"
    return {
        "AddressId": it.id,
        "AddressName": it.name,
        "AddressIp": str(it.public_address),
        "AddressStatus": status,
        "AddressType": "EIP",
        "InstanceId": instance or "",
        "InstanceType": kind,
        "NetworkInterfaceId": eni.id if eni else "",
        "PrivateAddressIp": str(it.private_address) if it.private_address else "",
        "IsArrears": False,
        "IsBlocked": False,
        "IsEipDirectConnection": it.is_direct,
        "CascadeRelease": False,
        "InternetServiceProvider": it.provider,
        "LocalBgp": False,
        "Bandwidth": it.bandwidth_mbps,
        "InternetChargeType": it.charge_type,
        "TagSet": shapes.tags(it.tags),
        "CreatedTime": it.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _quota(name: str, current: int, most: int) -> Json:
    return {"QuotaId": name, "QuotaCurrent": current, "QuotaLimit": most, "QuotaGroup": ""}
