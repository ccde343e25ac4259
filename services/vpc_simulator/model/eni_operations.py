"""Create, attach, detach and delete an ENI: each refuses, or begins a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eip_changes import check_eips_settled, unbind_eips
from services.vpc_simulator.model.eni_changes import Attaching, Creation, Deletion, Detaching
from services.vpc_simulator.model.enis import (
    MAIN_ACCOUNT,
    Attachment,
    Eni,
    PrivateAddress,
    TaskId,
)
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.security_groups import check_groups
from services.vpc_simulator.model.states import AddressState, EniState, InstanceState
from services.vpc_simulator.model.subnets import Subnet
from shared.ids import EniId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAddress:
    address: IPv4Address
    is_primary: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEni:
    """What a caller says of an ENI to be made."""

    vpc: str
    subnet: str
    name: str
    description: str = ""
    addresses: tuple[NewAddress, ...] = ()
    secondary_count: int = 0  # beside `addresses`
    security_groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    qos_level: str = "DEFAULT"
    account: str = MAIN_ACCOUNT
    termination_protection: bool = False
    traffic_protection: bool = False


def create_eni(cloud: Cloud, new: NewEni, *, task: TaskId, now: datetime) -> Eni:
    eni = prepare_eni(cloud, new, now)
    cloud.add_eni(eni, now)
    cloud.begin(
        task, "CreateNetworkInterface", Creation(cloud, eni), resources=(eni.id,), now=now
    )
    return eni


def prepare_eni(cloud: Cloud, new: NewEni, now: datetime) -> Eni:
    """Checked whole, and not yet part of the cloud."""
    cloud.check_vpc(new.vpc)
    subnet = cloud.subnet(new.subnet)
    if subnet.vpc != new.vpc:
        raise ApiFailure(Code.RESOURCE_MISMATCH, f"{subnet.id} is not a subnet of {new.vpc}.")
    if cloud.secondary_enis(subnet.vpc) >= cloud.limits.enis_per_vpc:
        raise ApiFailure(
            Code.ENI_LIMIT_EXCEEDED,
            f"The VPC has {cloud.limits.enis_per_vpc} network interfaces, which is its quota.",
        )
    check_groups(cloud, new.security_groups)
    return _new_eni(cloud, new, subnet, _choose_addresses(cloud, subnet, new), now)


def attach_eni(
    cloud: Cloud,
    eni_id: str,
    instance_id: str,
    *,
    attach_type: int,
    task: TaskId,
    now: datetime,
) -> None:
    eni = cloud.eni(eni_id)
    instance = cloud.instance(instance_id)
    _check_attachable(cloud, eni, instance, attach_type)
    attachment = Attachment(
        instance=instance.id, device_index=instance.free_index(), attached_at=now
    )
    instance.enis[attachment.device_index] = eni.id
    eni.attachment = attachment
    eni.step(EniState.ATTACHING)
    cloud.begin(
        task,
        "AttachNetworkInterface",
        Attaching(cloud, eni),
        resources=(eni.id, instance.id),
        now=now,
    )


def detach_eni(
    cloud: Cloud, eni_id: str, instance_id: str, *, task: TaskId, now: datetime
) -> None:
    eni = cloud.eni(eni_id)
    cloud.instance(instance_id)
    if eni.is_primary:
        raise ApiFailure(Code.UNSUPPORTED, f"{eni.id} is a primary network interface.")
    if eni.attachment is None or eni.attachment.instance != instance_id:
        raise ApiFailure(
            Code.UNSUPPORTED,
            f"The network interface {eni.id} is not attached to {instance_id}.",
        )
    eni.check_idle()
    eni.step(EniState.DETACHING)
    cloud.begin(
        task,
        "DetachNetworkInterface",
        Detaching(cloud, eni),
        resources=(eni.id, instance_id),
        now=now,
    )


def delete_eni(cloud: Cloud, eni_id: str, *, task: TaskId, now: datetime) -> None:
    eni = cloud.eni(eni_id)
    if eni.attachment is not None:
        raise ApiFailure(
            Code.RESOURCE_IN_USE,
            f"The network interface {eni.id} is attached to {eni.attachment.instance}.",
        )
    if eni.termination_protection:
        raise ApiFailure(Code.UNSUPPORTED, f"{eni.id} is protected from being deleted.")
    _begin_deletion(cloud, eni, "DeleteNetworkInterface", task, now)


def lose_eni(cloud: Cloud, eni_id: str, *, task: TaskId, now: datetime) -> None:
    """It goes wherever it is, as nobody asked for: a fault, or another tool's doing."""
    eni = cloud.eni(eni_id)
    if eni.is_primary:
        raise ApiFailure(Code.UNSUPPORTED, f"{eni.id} is a primary network interface.")
    _begin_deletion(cloud, eni, "LoseNetworkInterface", task, now)


def _begin_deletion(cloud: Cloud, eni: Eni, action: str, task: TaskId, now: datetime) -> None:
    eni.check_idle()
    check_eips_settled(cloud, eni.addresses)
    unbind_eips(cloud, eni.addresses)
    eni.step(EniState.DELETING)
    for address in eni.addresses.values():
        address.step(AddressState.DELETING)
    cloud.begin(task, action, Deletion(cloud, eni), resources=(eni.id,), now=now)


def _check_attachable(cloud: Cloud, eni: Eni, instance: Instance, attach_type: int) -> None:
    if eni.attachment is not None and eni.state is EniState.AVAILABLE:
        raise ApiFailure(
            Code.ALREADY_ATTACHED,
            f"The network interface {eni.id} is attached to {eni.attachment.instance}.",
        )
    eni.check_idle()
    if cloud.limits.attach_needs_security_group and not eni.security_groups:
        raise ApiFailure(Code.UNSUPPORTED, f"{eni.id} has no security group.")
    check_fits(eni, instance, attach_type)


def check_fits(eni: Eni, instance: Instance, attach_type: int) -> None:
    """The instance may have the ENI, wherever that is now."""
    if attach_type != 0:
        raise ApiFailure(
            Code.INSTANCE_FAMILY, f"{instance.id} ({instance.type}) has no extended interfaces."
        )
    if instance.state not in (InstanceState.RUNNING, InstanceState.STOPPED):
        raise ApiFailure(
            Code.INSTANCE_STATE, f"The instance {instance.id} is {instance.state}."
        )
    if eni.vpc != instance.vpc:
        raise ApiFailure(Code.VPC_MISMATCH, f"{eni.id} and {instance.id} are in two VPCs.")
    if eni.zone != instance.zone:
        raise ApiFailure(
            Code.ZONE_MISMATCH, f"{eni.id} is in {eni.zone}, {instance.id} in {instance.zone}."
        )
    _check_instance_quota(eni, instance)


def _check_instance_quota(eni: Eni, instance: Instance) -> None:
    quota = instance.quota
    if len(instance.enis) >= quota.enis:
        raise ApiFailure(
            Code.LIMIT_EXCEEDED,
            f"The instance {instance.id} has {quota.enis} network interfaces, its quota.",
        )
    if len(eni.addresses) > quota.addresses_per_eni:
        raise ApiFailure(
            Code.LIMIT_EXCEEDED,
            f"{eni.id} has {len(eni.addresses)} addresses;"
            f" {instance.id} allows {quota.addresses_per_eni} per network interface.",
        )


def _choose_addresses(cloud: Cloud, subnet: Subnet, new: NewEni) -> list[NewAddress]:
    """The primary address first: the one that was named so, or a free one."""
    for wanted in new.addresses:
        subnet.check_free(wanted.address, account=new.account)
    primaries = [each for each in new.addresses if each.is_primary]
    if len(primaries) > 1:
        raise ApiFailure(Code.INVALID_VALUE, "Only one address may be primary.")
    named = frozenset(each.address for each in new.addresses)
    if len(named) < len(new.addresses):
        raise ApiFailure(Code.INVALID_VALUE, "An address is named twice.")

    count = new.secondary_count + (0 if primaries else 1)
    if len(named) + count > cloud.limits.addresses_per_detached_eni:
        raise ApiFailure(
            Code.LIMIT_EXCEEDED,
            f"{len(named) + count} addresses are asked for;"
            f" {cloud.limits.addresses_per_detached_eni} per network interface are allowed.",
        )
    picked = subnet.pick(count, besides=named)
    if not primaries:
        primaries = [NewAddress(address=picked.pop(0), is_primary=True)]
    others = [each for each in new.addresses if not each.is_primary]
    return primaries + others + [NewAddress(address=each) for each in picked]


def _new_eni(
    cloud: Cloud, new: NewEni, subnet: Subnet, addresses: list[NewAddress], now: datetime
) -> Eni:
    return Eni(
        id=EniId(cloud.names.resource("eni", cloud.enis)),
        vpc=subnet.vpc,
        subnet=subnet.id,
        zone=subnet.zone,
        mac=cloud.names.mac(cloud.macs),
        name=new.name,
        description=new.description,
        is_primary=False,
        security_groups=new.security_groups,
        tags=dict(new.tags),
        created_at=now,
        state=EniState.PENDING,
        account=new.account,
        qos_level=new.qos_level,
        termination_protection=new.termination_protection,
        traffic_protection=new.traffic_protection,
        addresses={
            each.address: PrivateAddress(
                address=each.address,
                is_primary=each.is_primary,
                state=AddressState.PENDING,
                description=each.description,
                qos_level=new.qos_level,
            )
            for each in addresses
        },
    )
