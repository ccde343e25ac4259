"""What the simulator asks of its worker, and what it answers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.vpc_simulator.ports import EniPort
from shared.ids import EniId, InstanceId, SubnetId

MacAddress = Annotated[str, Field(pattern="^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SetSubnet(_Body):
    type: Literal["set_subnet"] = "set_subnet"
    subnet: SubnetId
    cidr: IPv4Network
    gateway: IPv4Address


class SetInstance(_Body):
    type: Literal["set_instance"] = "set_instance"
    instance: InstanceId


class RemoveInstance(_Body):
    type: Literal["remove_instance"] = "remove_instance"
    instance: InstanceId


class SetEni(_Body):
    type: Literal["set_eni"] = "set_eni"
    eni: EniId
    subnet: SubnetId
    mac: MacAddress
    primary_address: IPv4Address
    addresses: frozenset[IPv4Address]
    instance: InstanceId | None
    device_index: Annotated[int, Field(ge=0, le=255)] | None

    @classmethod
    def of(cls, port: EniPort) -> SetEni:
        return cls(
            eni=port.eni,
            subnet=port.subnet,
            mac=port.mac.lower(),
            primary_address=port.primary_address,
            addresses=port.addresses,
            instance=port.instance,
            device_index=port.device_index,
        )

    def port(self) -> EniPort:
        return EniPort(
            eni=self.eni,
            subnet=self.subnet,
            mac=self.mac,
            primary_address=self.primary_address,
            addresses=self.addresses,
            instance=self.instance,
            device_index=self.device_index,
        )


class RemoveEni(_Body):
    type: Literal["remove_eni"] = "remove_eni"
    eni: EniId


class Listen(_Body):
    """A listening TCP socket inside an instance; it comes with the answer."""

    type: Literal["listen"] = "listen"
    instance: InstanceId
    address: IPv4Address
    port: Annotated[int, Field(ge=0, le=65_535)]


class CountDrops(_Body):
    type: Literal["count_drops"] = "count_drops"


Body = Annotated[
    SetSubnet | SetInstance | RemoveInstance | SetEni | RemoveEni | Listen | CountDrops,
    Field(discriminator="type"),
]


class Call(_Body):
    id: int
    body: Body


class Answer(_Body):
    """`id` 0 is the worker's first word: it is ready, or says why it cannot be."""

    id: int
    error: str | None = None
    netns_fd: int | None = None  # of the instance, a number of the worker's own table
    drops: int | None = None
