"""The VPC and CVM APIs' JSON, parsed once, into the words of shared.cloud."""

from __future__ import annotations

from abc import ABC, abstractmethod
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from shared.cloud.words import (
    AddressPhase,
    Eni,
    EniAddress,
    EniQuota,
    EniState,
    Instance,
    InstanceState,
    ReservedAddress,
    Subnet,
    UsedAddress,
)
from shared.ids import EniId, InstanceId, SubnetId, VpcId, Zone

T = TypeVar("T")


class Shape(BaseModel, ABC, Generic[T]):
    """Named as the API names its fields; what is not needed is ignored."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore", frozen=True)

    @abstractmethod
    def to_word(self) -> T: ...


class SubnetShape(Shape[Subnet]):
    vpc_id: str
    subnet_id: str
    zone: str
    cidr_block: IPv4Network
    available_ip_address_count: int
    total_ip_address_count: int

    def to_word(self) -> Subnet:
        return Subnet(
            subnet=SubnetId(self.subnet_id),
            vpc=VpcId(self.vpc_id),
            zone=Zone(self.zone),
            cidr=self.cidr_block,
            free=self.available_ip_address_count,
            total=self.total_ip_address_count,
        )


class _Placement(BaseModel):
    zone: Annotated[str, Field(alias="Zone")]


class _VirtualPrivateCloud(BaseModel):
    vpc_id: Annotated[str, Field(alias="VpcId")]


class InstanceShape(Shape[Instance]):
    instance_id: str
    instance_state: str
    placement: _Placement
    virtual_private_cloud: _VirtualPrivateCloud

    def to_word(self) -> Instance:
        known = self.instance_state in InstanceState.__members__
        return Instance(
            instance=InstanceId(self.instance_id),
            vpc=VpcId(self.virtual_private_cloud.vpc_id),
            zone=Zone(self.placement.zone),
            state=InstanceState(self.instance_state) if known else InstanceState.OTHER,
        )


class QuotaShape(Shape[EniQuota]):
    eni_quantity: int
    eni_private_ip_address_quantity: int

    def to_word(self) -> EniQuota:
        return EniQuota(
            enis=self.eni_quantity, addresses_per_eni=self.eni_private_ip_address_quantity
        )


class AddressShape(Shape[EniAddress]):
    private_ip_address: IPv4Address
    primary: bool | None = False
    state: AddressPhase | None = None

    def to_word(self) -> EniAddress:
        return EniAddress(
            address=self.private_ip_address,
            is_primary=bool(self.primary),
            phase=self.state or AddressPhase.AVAILABLE,
        )


class _Tag(BaseModel):
    key: Annotated[str, Field(alias="Key")]
    value: Annotated[str, Field(alias="Value")]


class _Attachment(BaseModel):
    instance_id: Annotated[str | None, Field(alias="InstanceId")] = None


def _list(value: object) -> object:
    return [] if value is None else value


class EniShape(Shape[Eni]):
    network_interface_id: str
    vpc_id: str
    subnet_id: str
    primary: bool | None = False
    mac_address: str
    state: EniState
    attachment: _Attachment | None = None
    private_ip_address_set: Annotated[list[AddressShape], BeforeValidator(_list)] = []
    group_set: Annotated[list[str], BeforeValidator(_list)] = []
    tag_set: Annotated[list[_Tag], BeforeValidator(_list)] = []

    def to_word(self) -> Eni:
        instance = self.attachment.instance_id if self.attachment else None
        return Eni(
            eni=EniId(self.network_interface_id),
            vpc=VpcId(self.vpc_id),
            subnet=SubnetId(self.subnet_id),
            mac=self.mac_address.lower(),
            is_primary=bool(self.primary),
            state=self.state,
            instance=InstanceId(instance) if instance else None,
            addresses=tuple(each.to_word() for each in self.private_ip_address_set),
            security_groups=tuple(self.group_set),
            tags={tag.key: tag.value for tag in self.tag_set},
        )


class UsedShape(Shape[UsedAddress]):
    private_ip_address: IPv4Address
    private_ip_address_type: str | None = None

    def to_word(self) -> UsedAddress:
        return UsedAddress(
            address=self.private_ip_address, kind=self.private_ip_address_type or "unknown"
        )


class UsedInShape(Shape[UsedAddress]):
    ip_address: IPv4Address
    resource_type: str | None = None
    resource_id: str | None = None

    def to_word(self) -> UsedAddress:
        return UsedAddress(
            address=self.ip_address,
            kind=self.resource_type or "unknown",
            resource=self.resource_id or "",
        )


class ReservedShape(Shape[ReservedAddress]):
    reserve_ip_id: str
    vpc_id: str
    reserve_ip_address: IPv4Address
    resource_id: str | None = None

    def to_word(self) -> ReservedAddress:
        return ReservedAddress(
            reservation=self.reserve_ip_id,
            vpc=VpcId(self.vpc_id),
            address=self.reserve_ip_address,
            is_used=bool(self.resource_id),
        )
