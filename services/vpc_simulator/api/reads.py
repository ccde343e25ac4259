"""The actions that only look: subnets, ENIs, quotas, tasks, addresses, instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Final

from services.vpc_simulator.api import parameters, shapes
from services.vpc_simulator.api.selection import (
    PAGE_DEFAULT,
    Matcher,
    check_count,
    chosen_ids,
    matching,
    next_page,
    number,
    page,
)
from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.enis import Eni, TaskId
from services.vpc_simulator.model.failures import ApiFailure, Code, not_found
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.names import check_id
from services.vpc_simulator.model.subnets import Subnet

ADDRESSES_MAX: Final = 100

_SUBNET_FILTERS: Final[Mapping[str, Matcher[Subnet]]] = {
    "subnet-id": lambda it, values: it.id in values,
    "vpc-id": lambda it, values: it.vpc in values,
    "cidr-block": lambda it, values: str(it.cidr) in values,
    "subnet-name": lambda it, values: it.name in values,
    "zone": lambda it, values: it.zone in values,
    # The same of every subnet here.
    "is-default": lambda _, values: _is("false", values),
    "is-remote-vpc-snat": lambda _, values: _is("false", values),
    "is-cdc-subnet": lambda _, values: "0" in values,
    "cdc-id": lambda _, values: "" in values,
    "ipv6-cidr-block": lambda _, values: "" in values,
    "isp-type": lambda _, values: "" in values,
    "address-type": lambda _, values: _is("ipv4", values),
}


def _is(value: str, values: Sequence[str]) -> bool:
    return value in [each.lower() for each in values]


def _attached_to(it: Eni, values: Sequence[str]) -> bool:
    return it.attachment is not None and it.attachment.instance in values


def _has_address(it: Eni, values: Sequence[str]) -> bool:
    """The API's own rule: one value matches as a suffix, several match exactly."""
    held = [str(address) for address in it.addresses]
    if len(values) == 1:
        return any(address.endswith(values[0]) for address in held)
    return any(address in values for address in held)


def _has_exact_address(it: Eni, values: Sequence[str]) -> bool:
    return any(str(address) in values for address in it.addresses)


def _has_public_address(cloud: Cloud) -> Matcher[Eni]:
    def matches(it: Eni, values: Sequence[str]) -> bool:
        eips = [cloud.eip_at(address) for address in it.addresses]
        return any(eip is not None and str(eip.public_address) in values for eip in eips)

    return matches


def _flagged(is_so: bool, values: Sequence[str]) -> bool:
    return _is(str(is_so).lower(), values)


_ENI_FILTERS: Final[Mapping[str, Matcher[Eni]]] = {
    "vpc-id": lambda it, values: it.vpc in values,
    "subnet-id": lambda it, values: it.subnet in values,
    "network-interface-id": lambda it, values: it.id in values,
    "attachment.instance-id": _attached_to,
    "groups.security-group-id": lambda it, values: bool(set(it.security_groups) & set(values)),
    "network-interface-name": lambda it, values: it.name in values,
    "network-interface-description": lambda it, values: it.description in values,
    "address-ip": _has_address,
    "is-primary": lambda it, values: _flagged(it.is_primary, values),
    "eni-type": lambda it, values: str(int(it.is_primary)) in values,
    "eni-qos": lambda it, values: it.qos_level in values,
    "address-ipv6": lambda _, __: False,
    "address-type": lambda _, values: _is("ipv4", values),
    "termination-protection": lambda it, values: _flagged(it.termination_protection, values),
    "traffic-protection": lambda it, values: _flagged(it.traffic_protection, values),
}

_INSTANCE_FILTERS: Final[Mapping[str, Matcher[Instance]]] = {
    "instance-id": lambda it, values: it.id in values,
    "instance-name": lambda it, values: it.name in values,
    "instance-state": lambda it, values: it.state in values,
    "zone": lambda it, values: it.zone in values,
    "vpc-id": lambda it, values: it.vpc in values,
    "subnet-id": lambda it, values: it.subnet in values,
    "private-ip-address": lambda it, values: str(it.primary_address) in values,
}


def describe_subnets(cloud: Cloud, asked: parameters.DescribeSubnets) -> Json:
    if any(not each.values for each in asked.filters):
        raise ApiFailure(Code.EMPTY, "A filter has no values.")
    ids = chosen_ids("SubnetIds", asked.subnet_ids, asked.filters, "subnet")
    subnets = [each for each in cloud.subnets.values() if not ids or each.id in ids]
    found = matching(subnets, asked.filters, _SUBNET_FILTERS, lambda _: {})
    if asked.max_results is None and asked.next_token is None:
        next_token = ""
        offset, limit = number("Offset", asked.offset), number("Limit", asked.limit)
        shown = page(found, offset=offset, limit=limit)
    else:
        most = PAGE_DEFAULT if asked.max_results is None else asked.max_results
        shown, next_token = next_page(found, token=asked.next_token, most=most)
    return {
        "TotalCount": len(found),
        "SubnetSet": [shapes.subnet(each) for each in shown],
        "NextToken": next_token,
    }


def describe_enis(cloud: Cloud, asked: parameters.DescribeNetworkInterfaces) -> Json:
    """ENIs that do not exist are left out: who follows many learns of the others."""
    ids = chosen_ids("NetworkInterfaceIds", asked.network_interface_ids, asked.filters, "eni")
    enis = [each for each in cloud.enis.values() if not ids or each.id in ids]
    filters, is_exact = _without_exactness(asked.filters)
    matchers = dict(_ENI_FILTERS)
    matchers["public-address-ip"] = _has_public_address(cloud)
    if is_exact:
        matchers["address-ip"] = _has_exact_address
    found = matching(enis, filters, matchers, lambda eni: eni.tags)
    shown = page(found, offset=asked.offset, limit=asked.limit)
    return {
        "TotalCount": len(found),
        "NetworkInterfaceSet": [shapes.eni(cloud, each) for each in shown],
    }


def _without_exactness(
    filters: Sequence[parameters.Filter],
) -> tuple[list[parameters.Filter], bool]:
    """`ip-exact-match` is no filter of its own: it tells how `address-ip` matches."""
    exact = [each for each in filters if each.name == "ip-exact-match"]
    others = [each for each in filters if each.name != "ip-exact-match"]
    return others, any(_is("true", each.values) or "1" in each.values for each in exact)


def describe_eni_limit(cloud: Cloud, asked: parameters.DescribeNetworkInterfaceLimit) -> Json:
    if asked.instance_id.startswith("eni-"):
        eni = cloud.eni(check_id("InstanceId", asked.instance_id, "eni"))
        return _limit(enis=0, addresses=cloud.addresses_max(eni))
    name = check_id("InstanceId", asked.instance_id, "ins")
    instance = next((each for each in cloud.instances.values() if each.id == name), None)
    if instance is None:
        raise ApiFailure(
            Code.INVALID_INSTANCE_ID_NOT_FOUND, f"The instance {name} does not exist."
        )
    return _limit(enis=instance.quota.enis, addresses=instance.quota.addresses_per_eni)


def _limit(*, enis: int, addresses: int) -> Json:
    """No instance here has extended or sub-interfaces."""
    return {
        "EniQuantity": enis,
        "EniPrivateIpAddressQuantity": addresses,
        "ExtendEniQuantity": 0,
        "ExtendEniPrivateIpAddressQuantity": 0,
        "SubEniQuantity": 0,
        "SubEniPrivateIpAddressQuantity": 0,
    }


def describe_task(cloud: Cloud, asked: parameters.DescribeVpcTaskResult) -> Json:
    if not asked.task_id:
        raise ApiFailure(Code.INVALID_VALUE, "TaskId is empty.")
    task = cloud.tasks.get(TaskId(asked.task_id))
    if task is None:
        raise not_found("task", asked.task_id)
    return shapes.task(task)


def describe_addresses(cloud: Cloud, asked: parameters.DescribeVpcPrivateIpAddresses) -> Json:
    """Addresses that nobody has are left out."""
    cloud.check_vpc(check_id("VpcId", asked.vpc_id, "vpc"))
    check_count("PrivateIpAddresses", asked.private_ip_addresses, ADDRESSES_MAX)
    found = [_used(cloud, ipv4(each)) for each in asked.private_ip_addresses]
    return {"VpcPrivateIpAddressSet": [each for each in found if each is not None]}


def _used(cloud: Cloud, address: IPv4Address) -> Json | None:
    subnet = cloud.subnet_of_address(address)
    if subnet is None or address not in subnet.holders:
        return None
    holder = subnet.holders[address]
    return {
        "PrivateIpAddress": str(address),
        "CidrBlock": str(subnet.cidr),
        "PrivateIpAddressType": holder.kind,
        "CreatedTime": shapes.vpc_time(holder.since),
    }


def describe_instances(cloud: Cloud, asked: parameters.DescribeInstances) -> Json:
    """CVM's own: it refuses ids that do not exist, and has codes of its own."""
    try:
        ids = chosen_ids("InstanceIds", asked.instance_ids, asked.filters, "ins")
    except ApiFailure as failure:
        if failure.code is not Code.MALFORMED:
            raise
        raise ApiFailure(Code.INVALID_INSTANCE_ID_MALFORMED, failure.message) from failure
    for each in asked.filters:
        if each.name not in _INSTANCE_FILTERS:
            raise ApiFailure(Code.INVALID_FILTER, f"The filter `{each.name}` is not known.")
    if unknown := sorted(ids - cloud.instances.keys()):
        raise ApiFailure(
            Code.INVALID_INSTANCE_ID_NOT_FOUND, f"The instances {unknown} do not exist."
        )
    instances = [each for each in cloud.instances.values() if not ids or each.id in ids]
    found = matching(instances, asked.filters, _INSTANCE_FILTERS, lambda _: {})
    shown = page(found, offset=asked.offset, limit=asked.limit)
    return {
        "TotalCount": len(found),
        "InstanceSet": [shapes.instance(cloud, each) for each in shown],
    }


def ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise ApiFailure(Code.MALFORMED, f"`{text[:40]}` is not an IPv4 address.") from error
