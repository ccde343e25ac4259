"""What a VPC holds, in the field's own words. Times and texts that nobody acts on stay out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from shared.ids import EniId, InstanceId, SubnetId, VpcId, Zone


class EniState(StrEnum):
    """An attached, settled ENI is AVAILABLE too: `Eni.is_ready_on` is the question to ask."""

    PENDING = "PENDING"
    AVAILABLE = "AVAILABLE"
    ATTACHING = "ATTACHING"
    DETACHING = "DETACHING"
    DELETING = "DELETING"


class AddressPhase(StrEnum):
    """Of one address on one ENI, as the cloud tells it."""

    PENDING = "PENDING"
    AVAILABLE = "AVAILABLE"
    MIGRATING = "MIGRATING"
    DELETING = "DELETING"


class InstanceState(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"
    OTHER = "OTHER"  # on its way from one of these to another


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    subnet: SubnetId
    vpc: VpcId
    zone: Zone
    cidr: IPv4Network
    free: int
    total: int
    closed: str | None = None  # to new addresses, by a person's word: cordoned, draining

    @property
    def gateway(self) -> IPv4Address:
        return self.cidr.network_address + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    instance: InstanceId
    vpc: VpcId
    zone: Zone
    state: InstanceState

    @property
    def takes_enis(self) -> bool:
        return self.state in (InstanceState.RUNNING, InstanceState.STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class EniQuota:
    """How much an instance may have; both counts include the primary one."""

    enis: int
    addresses_per_eni: int

    @property
    def secondary_enis(self) -> int:
        return max(0, self.enis - 1)

    @property
    def secondary_addresses_per_eni(self) -> int:
        return max(0, self.addresses_per_eni - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EniAddress:
    address: IPv4Address
    is_primary: bool
    phase: AddressPhase


@dataclass(frozen=True, slots=True, kw_only=True)
class Eni:
    eni: EniId
    vpc: VpcId
    subnet: SubnetId
    mac: str  # lower case, colons
    is_primary: bool
    state: EniState
    instance: InstanceId | None
    addresses: tuple[EniAddress, ...]
    security_groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def primary_address(self) -> IPv4Address:
        return next(each.address for each in self.addresses if each.is_primary)

    @property
    def secondary(self) -> tuple[EniAddress, ...]:
        return tuple(each for each in self.addresses if not each.is_primary)

    @property
    def is_settled(self) -> bool:
        """No change is under way on it or on its addresses."""
        return self.state is EniState.AVAILABLE and all(
            each.phase is AddressPhase.AVAILABLE for each in self.addresses
        )

    def is_ready_on(self, instance: InstanceId) -> bool:
        return self.state is EniState.AVAILABLE and self.instance == instance

    def phase_of(self, address: IPv4Address) -> AddressPhase | None:
        """None: the address is not on this ENI."""
        return next((each.phase for each in self.addresses if each.address == address), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEni:
    """An ENI to make; `token` makes the call safe to repeat."""

    vpc: VpcId
    subnet: SubnetId
    name: str
    secondary_count: int
    security_groups: tuple[str, ...]
    tags: Mapping[str, str]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedAddress:
    """An address that the cloud keeps for this account, on an ENI or on none."""

    reservation: str
    vpc: VpcId
    address: IPv4Address
    is_used: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedAddress:
    """An address that somebody in the VPC has, and what kind of thing has it."""

    address: IPv4Address
    kind: str
    resource: str = ""  # its id, where the cloud tells

    @property
    def what(self) -> str:
        return f"({self.kind} {self.resource})" if self.resource else f"({self.kind})"
