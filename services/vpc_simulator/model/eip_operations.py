"""Allocate, associate, disassociate and release EIPs: each refuses, or begins a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eip_changes import (
    Allocation,
    Association,
    Disassociation,
    Release,
)
from services.vpc_simulator.model.eips import Eip, EipId, EipState
from services.vpc_simulator.model.enis import Eni, TaskId
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.tasks import Change, Task
from shared.ids import EniId, InstanceId

# The internet is a network for documentation (RFC 5737): no packet is ever sent to it.
PUBLIC: Final = IPv4Network("203.0.113.0/24")
BANDWIDTH_MBPS_MAX: Final = 2000

_BILLING_TIMEZONE: Final = timezone(timedelta(hours=8))  # its days are those of the quota


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEips:
    account: str
    count: int = 1
    name: str = ""
    provider: str = "BGP"
    charge_type: str = "TRAFFIC_POSTPAID_BY_HOUR"
    bandwidth_mbps: int = 1
    tags: Mapping[str, str] = field(default_factory=dict)


def allocate(
    cloud: Cloud, new: NewEips, *, task: TaskId, now: datetime
) -> tuple[list[Eip], Task]:
    if new.count < 1:
        raise ApiFailure(Code.INVALID_VALUE, "AddressCount: at least one.")
    if not 1 <= new.bandwidth_mbps <= BANDWIDTH_MBPS_MAX:
        raise ApiFailure(
            Code.BANDWIDTH_RANGE, f"InternetMaxBandwidthOut: 1 to {BANDWIDTH_MBPS_MAX} Mbit/s."
        )
    today = _day(now)
    if held(cloud, new.account) + new.count > cloud.limits.eips_per_account:
        raise ApiFailure(
            Code.EIP_QUOTA, f"The account may have {cloud.limits.eips_per_account} EIPs."
        )
    if applied(cloud, new.account, now) + new.count > cloud.limits.eips_per_day:
        raise ApiFailure(
            Code.EIP_DAILY, f"The account may apply for {cloud.limits.eips_per_day} a day."
        )
    taken = {eip.public_address for eip in cloud.eips.values()}
    free = [address for address in PUBLIC.hosts() if address not in taken][: new.count]
    if len(free) < new.count:
        raise ApiFailure(Code.EIP_QUOTA, f"Only {len(free)} public addresses are left.")
    made = [_make(cloud, new, address, now) for address in free]
    cloud.eip_applications[new.account] = (today, applied(cloud, new.account, now) + new.count)
    change = Allocation(cloud, tuple(made))
    return made, _begin(cloud, task, "AllocateAddresses", change, made, now)


def associate_with_instance(
    cloud: Cloud,
    eip_id: str,
    instance_id: str,
    *,
    account: str,
    is_direct: bool,
    task: TaskId,
    now: datetime,
) -> Task:
    """It leads to the primary address of the primary ENI."""
    eip = _unbound(cloud, eip_id, account)
    instance = cloud.instances.get(InstanceId(instance_id))
    if instance is None:
        raise ApiFailure(
            Code.INVALID_INSTANCE_ID_NOT_FOUND, f"The instance {instance_id} does not exist."
        )
    if instance.primary_address in cloud.eips_by_private:
        raise ApiFailure(Code.INSTANCE_HAS_EIP, f"The instance {instance_id} has an EIP.")
    return _associate(
        cloud, eip, instance.primary_address, is_direct=is_direct, task=task, now=now
    )


def associate_with_address(
    cloud: Cloud,
    eip_id: str,
    eni_id: str,
    address: IPv4Address,
    *,
    account: str,
    is_direct: bool,
    task: TaskId,
    now: datetime,
) -> Task:
    eip = _unbound(cloud, eip_id, account)
    eni = cloud.enis.get(EniId(eni_id))
    if eni is None:
        raise ApiFailure(Code.ENI_ID_NOT_FOUND, f"{eni_id} does not exist.")
    if address not in eni.addresses:
        raise ApiFailure(Code.ADDRESS_NOT_MATCH, f"{eni_id} does not have {address}.")
    if address in cloud.eips_by_private:
        raise ApiFailure(Code.ADDRESS_HAS_EIP, f"The address {address} has an EIP.")
    eni.check_addresses_idle()
    return _associate(cloud, eip, address, is_direct=is_direct, task=task, now=now)


def disassociate(
    cloud: Cloud, eip_id: str, *, account: str, task: TaskId, now: datetime
) -> Task:
    eip = owned(cloud, eip_id, account)
    eip.check_settled()
    if eip.state is not EipState.BIND:
        raise ApiFailure(Code.EIP_STATUS, f"The EIP {eip.id} is {eip.state}.")
    eip.step(EipState.UNBINDING)
    return _begin(cloud, task, "DisassociateAddress", Disassociation(cloud, (eip,)), [eip], now)


def release(
    cloud: Cloud, eip_ids: Sequence[str], *, account: str, task: TaskId, now: datetime
) -> Task:
    """All of them, or none."""
    leaving = [owned(cloud, each, account) for each in dict.fromkeys(eip_ids)]
    for eip in leaving:
        eip.check_settled()
        if eip.state is not EipState.UNBIND:
            raise ApiFailure(Code.EIP_STATE, f"The EIP {eip.id} is {eip.state}.")
    for eip in leaving:
        eip.step(EipState.OFFLINING)
    change = Release(cloud, tuple(leaving))
    return _begin(cloud, task, "ReleaseAddresses", change, leaving, now)


def owned(cloud: Cloud, eip_id: str, account: str) -> Eip:
    """Another account's is as if it did not exist."""
    eip = cloud.eips.get(EipId(eip_id))
    if eip is None or eip.account != account:
        raise ApiFailure(Code.EIP_NOT_FOUND, f"The EIP {eip_id} does not exist.")
    return eip


def held(cloud: Cloud, account: str) -> int:
    return sum(eip.account == account for eip in cloud.eips.values())


def applied(cloud: Cloud, account: str, now: datetime) -> int:
    """How many the account has applied for today."""
    day, count = cloud.eip_applications.get(account, (_day(now), 0))
    return count if day == _day(now) else 0


def eni_of(cloud: Cloud, eip: Eip) -> Eni | None:
    """Whichever holds the address that the EIP leads to."""
    if eip.private_address is None:
        return None
    subnet = cloud.subnet_of_address(eip.private_address)
    holder = subnet.holders.get(eip.private_address) if subnet is not None else None
    return cloud.enis[holder.eni] if holder is not None and holder.eni is not None else None


def _unbound(cloud: Cloud, eip_id: str, account: str) -> Eip:
    eip = owned(cloud, eip_id, account)
    eip.check_settled()
    if eip.state is not EipState.UNBIND:
        raise ApiFailure(Code.EIP_STATUS_NOT_PERMIT, f"The EIP {eip.id} is {eip.state}.")
    return eip


def _associate(
    cloud: Cloud,
    eip: Eip,
    address: IPv4Address,
    *,
    is_direct: bool,
    task: TaskId,
    now: datetime,
) -> Task:
    eip.step(EipState.BINDING)
    eip.private_address = address
    eip.is_direct = is_direct
    cloud.eips_by_private[address] = eip.id
    return _begin(cloud, task, "AssociateAddress", Association(cloud, (eip,)), [eip], now)


def _begin(
    cloud: Cloud, task: TaskId, action: str, change: Change, eips: Sequence[Eip], now: datetime
) -> Task:
    return cloud.begin(task, action, change, resources=tuple(eip.id for eip in eips), now=now)


def _make(cloud: Cloud, new: NewEips, address: IPv4Address, now: datetime) -> Eip:
    eip = Eip(
        id=EipId(cloud.names.resource("eip", cloud.eips)),
        public_address=address,
        account=new.account,
        name=new.name,
        provider=new.provider,
        charge_type=new.charge_type,
        bandwidth_mbps=new.bandwidth_mbps,
        tags=dict(new.tags),
        created_at=now,
        state=EipState.CREATING,
    )
    cloud.eips[eip.id] = eip
    return eip


def _day(now: datetime) -> date:
    return now.astimezone(_BILLING_TIMEZONE).date()
