"""Keep addresses of a subnet for an account, and let them go: each call is done at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.failures import ApiFailure, Code, not_found
from services.vpc_simulator.model.subnets import Reservation, ReservationId, Subnet
from shared.ids import EniId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReservations:
    """What a caller says of addresses to be kept: named ones, a number, or both."""

    vpc: str
    subnet: str
    account: str
    addresses: Sequence[IPv4Address] = ()
    count: int = 0
    name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def reserve(cloud: Cloud, new: NewReservations, *, now: datetime) -> list[Reservation]:
    """All of them, or none."""
    cloud.check_vpc(new.vpc)
    subnet = _subnet(cloud, new)
    if subnet.vpc != new.vpc:
        raise ApiFailure(Code.RESOURCE_MISMATCH, f"{subnet.id} is not a subnet of {new.vpc}.")
    if not new.addresses and new.count == 0:
        raise ApiFailure(Code.MISSING_PARAMETER, "IpAddresses or IpAddressCount is needed.")
    if len(set(new.addresses)) < len(new.addresses):
        raise ApiFailure(Code.DUPLICATE_PARA, "An address is named twice.")
    if len(subnet.reserved) + len(new.addresses) + new.count > cloud.limits.reserved_per_subnet:
        raise ApiFailure(
            Code.LIMIT_EXCEEDED,
            f"{subnet.id} keeps {len(subnet.reserved)} of {cloud.limits.reserved_per_subnet}.",
        )
    for address in new.addresses:
        _check_reservable(cloud, subnet, address, new.account)
    free = frozenset(each for each in new.addresses if each not in subnet.holders)
    picked = subnet.pick(new.count, besides=free)
    return [_add(cloud, subnet, each, new, now) for each in (*new.addresses, *picked)]


def release(cloud: Cloud, vpc: str, ids: Sequence[str], *, account: str) -> None:
    """All of them, or none. One that is in use stays with its network interface."""
    cloud.check_vpc(vpc)
    leaving = [_owned(cloud, each, account) for each in dict.fromkeys(ids)]
    for each in leaving:
        if user_of(cloud, each) is not None:
            raise ApiFailure(Code.RESOURCE_IN_USE, f"{each.id} ({each.address}) is in use.")
    for each in leaving:
        del cloud.reservations[each.id]
        del cloud.subnets[each.subnet].reserved[each.address]


def user_of(cloud: Cloud, reservation: Reservation) -> EniId | None:
    """The network interface that has the address now."""
    holder = cloud.subnets[reservation.subnet].holders.get(reservation.address)
    return holder.eni if holder is not None else None


def _subnet(cloud: Cloud, new: NewReservations) -> Subnet:
    """The one that was named, or the one that holds the named addresses."""
    if new.subnet:
        return cloud.subnet(new.subnet)
    if not new.addresses or new.count:
        raise ApiFailure(Code.MISSING_PARAMETER, "SubnetId is needed with IpAddressCount.")
    subnet = cloud.subnet_of_address(new.addresses[0])
    if subnet is None:
        raise ApiFailure(Code.RANGE, f"The address {new.addresses[0]} is in no subnet.")
    return subnet


def _check_reservable(cloud: Cloud, subnet: Subnet, address: IPv4Address, account: str) -> None:
    if address in subnet.reserved:
        raise ApiFailure(
            Code.RESOURCE_IN_USE,
            f"The address {address} is kept: {subnet.reserved[address].id}.",
        )
    holder = subnet.holders.get(address)
    if holder is None or holder.eni is None or not cloud.limits.reserves_used_addresses:
        subnet.check_free(address, account=account)
    elif cloud.enis[holder.eni].account != account:
        raise ApiFailure(Code.RESOURCE_IN_USE, f"The address {address} is another account's.")


def _add(
    cloud: Cloud, subnet: Subnet, address: IPv4Address, new: NewReservations, now: datetime
) -> Reservation:
    kept = Reservation(
        id=ReservationId(cloud.names.resource("rsvip", cloud.reservations)),
        subnet=subnet.id,
        address=address,
        account=new.account,
        name=new.name,
        description=new.description,
        tags=dict(new.tags),
        created_at=now,
    )
    subnet.reserved[address] = kept
    cloud.reservations[kept.id] = kept
    return kept


def _owned(cloud: Cloud, name: str, account: str) -> Reservation:
    """Another account's is as if it did not exist."""
    kept = cloud.reservations.get(ReservationId(name))
    if kept is None or kept.account != account:
        raise not_found("reserved address", name)
    return kept
