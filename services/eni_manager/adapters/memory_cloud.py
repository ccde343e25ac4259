"""CloudApi in memory: the rules of a VPC that the eni_manager counts on, done at once.

Every change is settled when its call returns. For tests of what is above the port; the network
and the API's own manners are the simulator's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TypeVar, cast

from shared.cloud.errors import (
    CloudDenied,
    CloudLimit,
    CloudNotFound,
    CloudSubnetFull,
    CloudTaken,
)
from shared.cloud.words import (
    AddressPhase,
    Eni,
    EniAddress,
    EniQuota,
    EniState,
    Instance,
    NewEni,
    ReservedAddress,
    Subnet,
    UsedAddress,
)
from shared.ids import EniId, InstanceId, SubnetId, VpcId

T = TypeVar("T")


class MemoryCloud:
    """Implements CloudApi over subnets and instances that are given once."""

    def __init__(
        self,
        subnets: Sequence[Subnet],
        instances: Sequence[tuple[Instance, EniQuota]],
        strangers: Mapping[IPv4Address, str] | None = None,
    ) -> None:
        self._subnets = {each.subnet: each for each in subnets}
        self._instances = {each.instance: (each, quota) for each, quota in instances}
        self._strangers = dict(strangers or {})  # address -> what kind of thing has it
        self._enis: dict[EniId, Eni] = {}
        self._reserved: dict[IPv4Address, tuple[VpcId, Mapping[str, str]]] = {}
        self._answers: dict[str, object] = {}  # by token
        self._made = 0

    async def aclose(self) -> None:
        return None

    async def describe_subnets(self, subnets: Sequence[SubnetId]) -> list[Subnet]:
        found = [self._subnets[each] for each in subnets if each in self._subnets]
        return [replace(each, free=len(self._free(each))) for each in found]

    async def describe_instances(self, instances: Sequence[InstanceId]) -> list[Instance]:
        return [self._instances[each][0] for each in instances if each in self._instances]

    async def describe_quota(self, instance: InstanceId) -> EniQuota:
        return self._instance(instance)[1]

    async def describe_enis(self, enis: Sequence[EniId]) -> list[Eni]:
        return [self._enis[each] for each in enis if each in self._enis]

    async def find_enis_on(self, instances: Sequence[InstanceId]) -> list[Eni]:
        return [each for each in self._enis.values() if each.instance in instances]

    async def find_enis_tagged(self, tags: Mapping[str, str]) -> list[Eni]:
        return [
            each
            for each in self._enis.values()
            if all(each.tags.get(key) == value for key, value in tags.items())
        ]

    async def find_eni_of(self, vpc: VpcId, address: IPv4Address) -> Eni | None:
        enis = self._enis.values()
        return next((each for each in enis if each.phase_of(address) is not None), None)

    async def find_used(self, vpc: VpcId, address: IPv4Address) -> UsedAddress | None:
        kind = self._strangers.get(address)
        if kind is None and await self.find_eni_of(vpc, address) is not None:
            kind = "ENI"
        return UsedAddress(address=address, kind=kind) if kind else None

    async def find_used_in(self, vpc: VpcId, subnet: SubnetId) -> list[UsedAddress]:
        inside = self._subnets[subnet].cidr
        ours = [
            UsedAddress(address=it.address, kind="ENI", resource=eni.eni)
            for eni in self._enis.values()
            for it in eni.addresses
            if it.address in inside
        ]
        strangers = [
            UsedAddress(address=address, kind=kind)
            for address, kind in self._strangers.items()
            if address in inside
        ]
        return sorted(ours + strangers, key=lambda it: it.address)

    async def create_eni(self, new: NewEni) -> Eni:
        if (known := self._answered("CreateNetworkInterface", new.token, Eni)) is not None:
            return self._enis.get(known.eni, known)
        subnet = self._subnets.get(new.subnet)
        if subnet is None:
            raise _not_found("CreateNetworkInterface", new.subnet)
        primary, *others = self._pick("CreateNetworkInterface", subnet, 1 + new.secondary_count)
        self._made += 1
        made = Eni(
            eni=EniId(f"eni-{self._made:08x}"),
            vpc=new.vpc,
            subnet=new.subnet,
            mac=f"20:90:6f:00:{self._made >> 8:02x}:{self._made & 255:02x}",
            is_primary=False,
            state=EniState.AVAILABLE,
            instance=None,
            addresses=(_held(primary, is_primary=True), *(_held(each) for each in others)),
            security_groups=new.security_groups,
            tags=dict(new.tags),
        )
        self._enis[made.eni] = made
        self._answers[new.token] = made
        return made

    async def attach_eni(self, eni: EniId, instance: InstanceId, *, token: str) -> None:
        action = "AttachNetworkInterface"
        if token in self._answers:
            return
        found = self._eni(action, eni)
        machine, quota = self._instance(instance)
        if found.instance is not None:
            raise CloudTaken(action, "AttachmentAlreadyExists", f"{eni} is attached")
        if self._subnets[found.subnet].zone != machine.zone:
            raise CloudDenied(action, "ZoneMismatch", f"{eni} and {instance}")
        if len(await self.find_enis_on([instance])) >= quota.secondary_enis:
            raise CloudLimit(action, "LimitExceeded", f"{instance} has {quota.enis} ENIs")
        self._enis[eni] = replace(found, instance=instance)
        self._answers[token] = None

    async def detach_eni(self, eni: EniId, instance: InstanceId, *, token: str) -> None:
        found = self._eni("DetachNetworkInterface", eni)
        if token not in self._answers:
            self._enis[eni] = replace(found, instance=None)
            self._answers[token] = None

    async def delete_eni(self, eni: EniId) -> None:
        found = self._eni("DeleteNetworkInterface", eni)
        if found.instance is not None:
            raise CloudTaken("DeleteNetworkInterface", "ResourceInUse", f"{eni} is attached")
        del self._enis[eni]

    async def assign_count(self, eni: EniId, count: int, *, token: str) -> list[IPv4Address]:
        action = "AssignPrivateIpAddresses"
        if (known := self._answered(action, token, list)) is not None:
            return cast(list[IPv4Address], known)
        found = self._eni(action, eni)
        self._check_room(action, found, count)
        picked = self._pick(action, self._subnets[found.subnet], count)
        self._add(found, picked)
        self._answers[token] = picked
        return picked

    async def assign_address(self, eni: EniId, address: IPv4Address, *, token: str) -> None:
        action = "AssignPrivateIpAddresses"
        found = self._eni(action, eni)
        if token in self._answers:
            return
        if address not in self._subnets[found.subnet].cidr:
            raise CloudDenied(action, "InvalidParameterValue.Range", f"{address}")
        if await self.find_used(found.vpc, address) is not None:
            raise CloudTaken(action, "ResourceInUse", f"{address} is in use")
        self._check_room(action, found, 1)
        self._add(found, [address])
        self._answers[token] = None

    async def unassign(self, eni: EniId, addresses: Sequence[IPv4Address]) -> None:
        action = "UnassignPrivateIpAddresses"
        found = self._eni(action, eni)
        for each in addresses:
            self._check_has(action, found, each)
        kept = tuple(each for each in found.addresses if each.address not in addresses)
        self._enis[eni] = replace(found, addresses=kept)

    async def migrate(self, source: EniId, destination: EniId, address: IPv4Address) -> None:
        action = "MigratePrivateIpAddress"
        left, arrived = self._eni(action, source), self._eni(action, destination)
        if left.subnet != arrived.subnet:
            raise CloudDenied(action, "UnsupportedOperation", "two subnets")
        self._check_has(action, left, address)
        self._check_room(action, arrived, 1)
        await self.unassign(source, [address])
        self._add(self._enis[destination], [address])

    async def reserve(
        self,
        vpc: VpcId,
        subnet: SubnetId,
        address: IPv4Address,
        *,
        tags: Mapping[str, str],
        token: str,
    ) -> None:
        action = "CreateReserveIpAddresses"
        if token in self._answers:
            return
        if address not in self._subnets[subnet].cidr:
            raise CloudDenied(action, "InvalidParameterValue.Range", f"{address}")
        if address in self._reserved or address in self._strangers:
            raise CloudTaken(action, "ResourceInUse", f"{address} is kept or in use")
        self._reserved[address] = (vpc, dict(tags))
        self._answers[token] = None

    async def find_reserved(
        self, tags: Mapping[str, str], address: IPv4Address | None = None
    ) -> list[ReservedAddress]:
        return [
            ReservedAddress(
                reservation=f"rsvip-{each}",
                vpc=vpc,
                address=each,
                is_used=await self.find_eni_of(vpc, each) is not None,
            )
            for each, (vpc, has) in self._reserved.items()
            if address in (None, each) and tags.items() <= has.items()
        ]

    async def release_reserved(self, reserved: ReservedAddress) -> None:
        action = "DeleteReserveIpAddresses"
        if reserved.address not in self._reserved:
            raise _not_found(action, reserved.reservation)
        if await self.find_eni_of(reserved.vpc, reserved.address) is not None:
            raise CloudTaken(action, "ResourceInUse", f"{reserved.address} is in use")
        del self._reserved[reserved.address]

    async def associate_groups(self, enis: Sequence[EniId], groups: Sequence[str]) -> None:
        for each in enis:
            found = self._eni("AssociateNetworkInterfaceSecurityGroups", each)
            fresh = tuple(it for it in groups if it not in found.security_groups)
            kept = replace(found, security_groups=(*found.security_groups, *fresh))
            self._enis[each] = kept

    async def disassociate_groups(self, enis: Sequence[EniId], groups: Sequence[str]) -> None:
        for each in enis:
            found = self._eni("DisassociateNetworkInterfaceSecurityGroups", each)
            kept = tuple(it for it in found.security_groups if it not in groups)
            self._enis[each] = replace(found, security_groups=kept)

    def _instance(self, instance: InstanceId) -> tuple[Instance, EniQuota]:
        if instance not in self._instances:
            raise _not_found("DescribeInstances", instance)
        return self._instances[instance]

    def _eni(self, action: str, eni: EniId) -> Eni:
        if eni not in self._enis:
            raise _not_found(action, eni)
        return self._enis[eni]

    def _check_has(self, action: str, eni: Eni, address: IPv4Address) -> None:
        if eni.phase_of(address) is None:
            raise _not_found(action, f"{address} on {eni.eni}")
        if address == eni.primary_address:
            raise CloudDenied(action, "UnsupportedOperation", f"{address} is primary")

    def _check_room(self, action: str, eni: Eni, count: int) -> None:
        if eni.instance is None:
            return
        most = self._instances[eni.instance][1].addresses_per_eni
        if len(eni.addresses) + count > most:
            raise CloudLimit(action, "LimitExceeded", f"{eni.eni} may have {most} addresses")

    def _free(self, subnet: Subnet) -> list[IPv4Address]:
        """All but the network's own first and last, and the gateway."""
        used = {it.address for eni in self._enis.values() for it in eni.addresses}
        taken = used | self._strangers.keys() | self._reserved.keys()
        return [each for each in list(subnet.cidr.hosts())[1:] if each not in taken]

    def _pick(self, action: str, subnet: Subnet, count: int) -> list[IPv4Address]:
        free = self._free(subnet)
        if len(free) < count:
            raise CloudSubnetFull(
                action, "ResourceInsufficient.Subnet", f"{subnet.subnet} has {len(free)} free"
            )
        return free[:count]

    def _add(self, eni: Eni, addresses: Sequence[IPv4Address]) -> None:
        held = tuple(_held(each) for each in addresses)
        self._enis[eni.eni] = replace(eni, addresses=(*eni.addresses, *held))

    def _answered(self, action: str, token: str, kind: type[T]) -> T | None:
        answer = self._answers.get(token)
        if answer is not None and not isinstance(answer, kind):
            raise CloudDenied(action, "IdempotentParameterMismatch", token)
        return answer


def _held(address: IPv4Address, *, is_primary: bool = False) -> EniAddress:
    return EniAddress(address=address, is_primary=is_primary, phase=AddressPhase.AVAILABLE)


def _not_found(action: str, name: str) -> CloudNotFound:
    return CloudNotFound(action, "ResourceNotFound", f"no {name}")
