"""Assign, unassign and migrate addresses: each refuses, or begins a task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Address

from services.vpc_simulator.model.address_changes import Assignment, Migration, Unassignment
from services.vpc_simulator.model.cloud import Cloud, eni_holder
from services.vpc_simulator.model.eip_changes import check_eips_settled, unbind_eips
from services.vpc_simulator.model.eni_operations import NewAddress
from services.vpc_simulator.model.enis import MAIN_ACCOUNT, Eni, PrivateAddress, TaskId
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.states import AddressState


def assign(
    cloud: Cloud,
    eni_id: str,
    *,
    named: Sequence[NewAddress],
    count: int,
    qos_level: str,
    account: str = MAIN_ACCOUNT,
    task: TaskId,
    now: datetime,
) -> list[PrivateAddress]:
    """Assign the named addresses and `count` others that the subnet has free."""
    eni = cloud.eni(eni_id)
    if not named and count == 0:
        raise ApiFailure(
            Code.MISSING_PARAMETER,
            "PrivateIpAddresses or SecondaryPrivateIpAddressCount is needed.",
        )
    if any(each.is_primary for each in named):
        raise ApiFailure(Code.UNSUPPORTED, "A primary address cannot be assigned.")
    _check_distinct([each.address for each in named])
    eni.check_addresses_idle()
    _check_room(cloud, eni, len(named) + count)
    subnet = cloud.subnets[eni.subnet]
    for each in named:
        subnet.check_free(each.address, account=account)
    picked = subnet.pick(count, besides=frozenset(each.address for each in named))

    wanted = [*named, *(NewAddress(address=each) for each in picked)]
    added = [
        PrivateAddress(
            address=each.address,
            is_primary=False,
            state=AddressState.PENDING,
            description=each.description,
            qos_level=qos_level,
        )
        for each in wanted
    ]
    for address in added:
        subnet.take(address.address, eni_holder(eni, now))
        eni.addresses[address.address] = address
    cloud.begin(
        task,
        "AssignPrivateIpAddresses",
        Assignment(cloud, eni, tuple(each.address for each in added)),
        resources=(eni.id,),
        now=now,
    )
    return added


def unassign(
    cloud: Cloud, eni_id: str, addresses: Sequence[IPv4Address], *, task: TaskId, now: datetime
) -> None:
    eni = cloud.eni(eni_id)
    _check_distinct(addresses)
    eni.check_addresses_idle()
    leaving = [eni.has(address) for address in addresses]
    if any(each.is_primary for each in leaving):
        raise ApiFailure(Code.UNSUPPORTED, "A primary address cannot be unassigned.")
    check_eips_settled(cloud, addresses)

    unbind_eips(cloud, addresses)
    for each in leaving:
        each.step(AddressState.DELETING)
    cloud.begin(
        task,
        "UnassignPrivateIpAddresses",
        Unassignment(cloud, eni, tuple(addresses)),
        resources=(eni.id,),
        now=now,
    )


def migrate(
    cloud: Cloud,
    source_id: str,
    destination_id: str,
    address: IPv4Address,
    *,
    task: TaskId,
    now: datetime,
) -> None:
    source = cloud.eni(source_id)
    destination = cloud.eni(destination_id)
    if source is destination or source.subnet != destination.subnet:
        raise ApiFailure(
            Code.UNSUPPORTED, "An address migrates between two network interfaces of a subnet."
        )
    if source.account != destination.account:
        raise ApiFailure(Code.UNSUPPORTED, "The network interfaces are of two accounts.")
    _check_attached(cloud, source)
    _check_attached(cloud, destination)
    source.check_mutex()
    destination.check_mutex()
    moving = source.has(address)
    if moving.is_primary:
        raise ApiFailure(Code.PRIMARY_IP, f"The address {address} is primary.")
    _check_room(cloud, destination, 1)

    moving.step(AddressState.MIGRATING)
    cloud.begin(
        task,
        "MigratePrivateIpAddress",
        Migration(cloud, source, destination, address),
        resources=(source.id, destination.id),
        now=now,
    )


def _check_attached(cloud: Cloud, eni: Eni) -> None:
    if eni.attachment is None and not cloud.limits.migrates_to_detached_eni:
        raise ApiFailure(
            Code.ATTACHMENT_NOT_FOUND, f"The network interface {eni.id} is not attached."
        )


def _check_room(cloud: Cloud, eni: Eni, count: int) -> None:
    most = cloud.addresses_max(eni)
    if len(eni.addresses) + count > most:
        raise ApiFailure(
            Code.LIMIT_EXCEEDED,
            f"The network interface {eni.id} has {len(eni.addresses)} of {most} addresses;"
            f" {count} more do not fit.",
        )


def _check_distinct(addresses: Sequence[IPv4Address]) -> None:
    if len(set(addresses)) < len(addresses):
        raise ApiFailure(Code.DUPLICATE_PARA, "An address is named twice.")
