"""Changes of an ENI's addresses while they are under way: assigned, unassigned, migrated.

Order is what makes them safe: an address works before the state says AVAILABLE, it has stopped
working before the state says it is gone, and it is off the old ENI before it is on the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address

from services.vpc_simulator.model.cloud import Cloud, eni_holder
from services.vpc_simulator.model.effects import Effect, SetEni
from services.vpc_simulator.model.eip_changes import keep_eips, let_eips_go
from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.states import AddressState


@dataclass(frozen=True, slots=True)
class Assignment:
    cloud: Cloud
    eni: Eni
    addresses: tuple[IPv4Address, ...]

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.eni,)

    def effects(self) -> list[Effect]:
        return [SetEni(self.eni.port(self.cloud.link_of(self.eni)))]

    def complete(self, now: datetime) -> None:
        for address in self.addresses:
            self.eni.addresses[address].step(AddressState.AVAILABLE)

    def abort(self) -> list[Effect]:
        _forget(self.cloud, self.eni, self.addresses)
        return [SetEni(self.eni.port(self.cloud.link_of(self.eni)))]


@dataclass(frozen=True, slots=True)
class Unassignment:
    cloud: Cloud
    eni: Eni
    addresses: tuple[IPv4Address, ...]

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.eni,)

    def effects(self) -> list[Effect]:
        return [SetEni(self.eni.port(self.cloud.link_of(self.eni), without=self.addresses))]

    def complete(self, now: datetime) -> None:
        let_eips_go(self.cloud, self.addresses)
        _forget(self.cloud, self.eni, self.addresses)

    def abort(self) -> list[Effect]:
        keep_eips(self.cloud, self.addresses)
        for address in self.addresses:
            self.eni.addresses[address].step(AddressState.AVAILABLE)
        return [SetEni(self.eni.port(self.cloud.link_of(self.eni)))]


@dataclass(frozen=True, slots=True)
class Migration:
    """Holds both ENIs, so that neither the address nor the room for it can go meanwhile."""

    cloud: Cloud
    source: Eni
    destination: Eni
    address: IPv4Address

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.source, self.destination)

    def effects(self) -> list[Effect]:
        off = self.source.port(self.cloud.link_of(self.source), without=(self.address,))
        on = self.destination.port(self.cloud.link_of(self.destination), plus=(self.address,))
        return [SetEni(off), SetEni(on)]

    def complete(self, now: datetime) -> None:
        moved = self.source.addresses.pop(self.address)
        moved.step(AddressState.AVAILABLE)
        self.destination.addresses[self.address] = moved
        self.cloud.subnets[self.source.subnet].hand_over(
            self.address, from_eni=self.source.id, to=eni_holder(self.destination, now)
        )

    def abort(self) -> list[Effect]:
        self.source.addresses[self.address].step(AddressState.AVAILABLE)
        off = self.destination.port(self.cloud.link_of(self.destination))
        on = self.source.port(self.cloud.link_of(self.source))
        return [SetEni(off), SetEni(on)]


def _forget(cloud: Cloud, eni: Eni, addresses: tuple[IPv4Address, ...]) -> None:
    for address in addresses:
        del eni.addresses[address]
        cloud.subnets[eni.subnet].give_back(address, eni=eni.id)
