"""ENIs and their addresses: the one mutex each has, and what the network is told of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address
from typing import Final, NewType

from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.states import AddressState, EniState, address_step, eni_step
from services.vpc_simulator.ports import EniPort
from shared.ids import EniId, InstanceId, SubnetId, VpcId, Zone

TaskId = NewType("TaskId", str)  # the RequestId of the call that began the task

MAIN_ACCOUNT: Final = "100000000001"  # the one whose instances these are


@dataclass(slots=True, kw_only=True)
class PrivateAddress:
    """An address of an ENI."""

    address: IPv4Address
    is_primary: bool
    state: AddressState
    description: str = ""
    qos_level: str = "DEFAULT"

    def step(self, state: AddressState) -> None:
        self.state = address_step(self.state, state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    instance: InstanceId
    device_index: int
    attached_at: datetime


@dataclass(slots=True, kw_only=True)
class Eni:
    """A network interface of the cloud. Only one task at a time may change it."""

    id: EniId
    vpc: VpcId
    subnet: SubnetId
    zone: Zone
    mac: str
    name: str
    description: str
    is_primary: bool
    security_groups: tuple[str, ...]
    tags: dict[str, str]
    created_at: datetime
    state: EniState
    account: str = MAIN_ACCOUNT
    qos_level: str = "DEFAULT"
    termination_protection: bool = False
    traffic_protection: bool = False
    addresses: dict[IPv4Address, PrivateAddress] = field(default_factory=dict)
    attachment: Attachment | None = None
    running_task: TaskId | None = None

    def step(self, state: EniState) -> None:
        self.state = eni_step(self.state, state)

    @property
    def primary_address(self) -> IPv4Address:
        return next(each.address for each in self.addresses.values() if each.is_primary)

    def lock(self, task: TaskId) -> None:
        assert self.running_task is None, "one task per ENI"
        self.running_task = task

    def unlock(self, task: TaskId) -> None:
        assert self.running_task == task, "only its own task unlocks an ENI"
        self.running_task = None

    def check_idle(self) -> None:
        """For calls on the ENI itself: any running change makes its state the wrong one."""
        if self.state is not EniState.AVAILABLE or self.running_task is not None:
            raise ApiFailure(
                Code.INVALID_STATE, f"The network interface {self.id} is {self.state} and busy."
            )

    def check_addresses_idle(self) -> None:
        """For calls on its addresses: they name the mutex where only that is in the way."""
        if self.state is not EniState.AVAILABLE:
            raise ApiFailure(
                Code.INVALID_STATE, f"The network interface {self.id} is {self.state}."
            )
        self.check_mutex()

    def check_mutex(self) -> None:
        if self.running_task is not None:
            raise ApiFailure(
                Code.MUTEX, f"Another task is running on the network interface {self.id}."
            )

    def has(self, address: IPv4Address) -> PrivateAddress:
        if address not in self.addresses:
            raise ApiFailure(
                Code.RESOURCE_NOT_FOUND,
                f"The network interface {self.id} does not have the address {address}.",
            )
        return self.addresses[address]

    def port(
        self,
        attachment: Attachment | None,
        *,
        without: Iterable[IPv4Address] = (),
        plus: Iterable[IPv4Address] = (),
    ) -> EniPort:
        """The ENI as the network shall have it once a change is done."""
        addresses = (self.addresses.keys() - set(without)) | set(plus)
        return EniPort(
            eni=self.id,
            subnet=self.subnet,
            mac=self.mac,
            primary_address=self.primary_address,
            addresses=frozenset(addresses),
            instance=attachment.instance if attachment else None,
            device_index=attachment.device_index if attachment else None,
        )
