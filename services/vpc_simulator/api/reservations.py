"""Addresses kept in a subnet, and who uses which: answers and shapes together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from services.vpc_simulator.api import parameters, shapes
from services.vpc_simulator.api.reads import ADDRESSES_MAX, ipv4
from services.vpc_simulator.api.selection import (
    Matcher,
    check_count,
    chosen_ids,
    matching,
    page,
)
from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.api.writes import (
    ADDRESSES_MAX as RESERVED_MAX,
)
from services.vpc_simulator.api.writes import (
    DESCRIPTION_CHARACTERS_MAX,
    NAME_BYTES_MAX,
    TAGS_MAX,
    Call,
)
from services.vpc_simulator.model import reservation_operations
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.names import check_id
from services.vpc_simulator.model.reservation_operations import NewReservations
from services.vpc_simulator.model.subnets import Reservation

_IP_TYPE: Final = 0  # of addresses that people keep, as against a product's own


def create(cloud: Cloud, asked: parameters.CreateReserveIpAddresses, call: Call) -> Json:
    check_count("IpAddresses", asked.ip_addresses, RESERVED_MAX)
    check_count("Tags", asked.tags, TAGS_MAX)
    if len(asked.name.encode()) > NAME_BYTES_MAX:
        raise ApiFailure(Code.TOO_LONG, f"Name is longer than {NAME_BYTES_MAX} bytes.")
    if len(asked.description) > DESCRIPTION_CHARACTERS_MAX:
        raise ApiFailure(
            Code.TOO_LONG, f"Description is longer than {DESCRIPTION_CHARACTERS_MAX}."
        )
    made = reservation_operations.reserve(
        cloud,
        NewReservations(
            vpc=check_id("VpcId", asked.vpc_id, "vpc"),
            subnet=check_id("SubnetId", asked.subnet_id, "subnet") if asked.subnet_id else "",
            account=call.account,
            addresses=[ipv4(each) for each in asked.ip_addresses],
            count=asked.ip_address_count,
            name=asked.name,
            description=asked.description,
            tags={tag.key: tag.value for tag in asked.tags},
        ),
        now=call.now,
    )
    return {"ReserveIpAddressSet": [_shape(cloud, each) for each in made]}


def delete(cloud: Cloud, asked: parameters.DeleteReserveIpAddresses, call: Call) -> Json:
    vpc = check_id("VpcId", asked.vpc_id, "vpc")
    ids = chosen_ids("ReserveIpIds", asked.reserve_ip_ids, (), "rsvip")
    if not ids:
        raise ApiFailure(Code.MISSING_PARAMETER, "ReserveIpIds is empty.")
    reservation_operations.release(cloud, vpc, asked.reserve_ip_ids, account=call.account)
    return {}


def describe(cloud: Cloud, asked: parameters.DescribeReserveIpAddresses, call: Call) -> Json:
    """The caller's own."""
    ids = chosen_ids("ReserveIpIds", asked.reserve_ip_ids, asked.filters, "rsvip")
    own = [each for each in cloud.reservations.values() if each.account == call.account]
    kept = [each for each in own if not ids or each.id in ids]
    found = matching(kept, asked.filters, _filters(cloud), lambda each: each.tags)
    shown = page(found, offset=asked.offset, limit=asked.limit)
    return {
        "TotalCount": len(found),
        "ReserveIpAddressSet": [_shape(cloud, each) for each in shown],
    }


def _filters(cloud: Cloud) -> Mapping[str, Matcher[Reservation]]:
    def used_by(it: Reservation, values: Sequence[str]) -> bool:
        return reservation_operations.user_of(cloud, it) in values

    return {
        "reserve-ip-id": lambda it, values: it.id in values,
        "vpc-id": lambda it, values: cloud.subnets[it.subnet].vpc in values,
        "subnet-id": lambda it, values: it.subnet in values,
        "address-ip": lambda it, values: str(it.address) in values,
        "ip-type": lambda _, values: str(_IP_TYPE) in values,
        "name": lambda it, values: it.name in values,
        "state": lambda it, values: _state(cloud, it) in values,
        "resource-id": used_by,
    }


def _state(cloud: Cloud, it: Reservation) -> str:
    return "Bind" if reservation_operations.user_of(cloud, it) else "UnBind"


def _shape(cloud: Cloud, it: Reservation) -> Json:
    return {
        "ReserveIpId": it.id,
        "VpcId": cloud.subnets[it.subnet].vpc,
        "SubnetId": it.subnet,
        "ReserveIpAddress": str(it.address),
        "ResourceId": reservation_operations.user_of(cloud, it) or "",
        "IpType": _IP_TYPE,
        "State": _state(cloud, it),
        "Name": it.name,
        "Description": it.description,
        "CreatedTime": shapes.vpc_time(it.created_at),
        "TagSet": shapes.tags(it.tags),
    }


def describe_used(cloud: Cloud, asked: parameters.DescribeUsedIpAddress) -> Json:
    """Addresses that nobody uses or keeps are left out."""
    cloud.check_vpc(check_id("VpcId", asked.vpc_id, "vpc"))
    if asked.ip_addresses and asked.filters:
        raise ApiFailure(Code.COEXIST, "IpAddresses and Filters exclude each other.")
    check_count("IpAddresses", asked.ip_addresses, ADDRESSES_MAX)
    wanted = {str(ipv4(each)) for each in asked.ip_addresses}
    used = [each for each in _used(cloud, asked.subnet_id) if each["VpcId"] == asked.vpc_id]
    chosen = [each for each in used if not wanted or each["IpAddress"] in wanted]
    found = matching(chosen, asked.filters, _USED_FILTERS, lambda _: {})
    shown = page(found, offset=asked.offset, limit=asked.limit)
    return {"TotalCount": len(found), "IpAddressStates": list(shown)}


_USED_FILTERS: Final[Mapping[str, Matcher[Mapping[str, str]]]] = {
    "ip-addresses": lambda it, values: it["IpAddress"] in values,
    "resource-id": lambda it, values: it["ResourceId"] in values,
}


def _used(cloud: Cloud, subnet_id: str) -> list[Mapping[str, str]]:
    """In the order of the addresses, so that pages cover them once."""
    subnets = list(cloud.subnets.values())
    if subnet_id:
        subnets = [cloud.subnet(check_id("SubnetId", subnet_id, "subnet"))]
    found: list[Mapping[str, str]] = []
    for subnet in subnets:
        for address in sorted(subnet.holders.keys() | subnet.reserved.keys()):
            holder = subnet.holders.get(address)
            if holder is None:
                kind, resource = "RESERVE", str(subnet.reserved[address].id)
            else:
                kind, resource = ("ENI", holder.eni) if holder.eni else (holder.kind, "")
            found.append(
                {
                    "VpcId": subnet.vpc,
                    "SubnetId": subnet.id,
                    "IpAddress": str(address),
                    "ResourceType": kind,
                    "ResourceId": resource,
                }
            )
    return found
