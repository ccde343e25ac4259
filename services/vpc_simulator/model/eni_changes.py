"""Changes of whole ENIs while they are under way: made, attached, detached, deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.effects import Effect, RemoveEni, SetEni
from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.states import AddressState, EniState


@dataclass(frozen=True, slots=True)
class Creation:
    cloud: Cloud
    eni: Eni

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.eni,)

    def effects(self) -> list[Effect]:
        return [SetEni(self.eni.port(None))]

    def complete(self, now: datetime) -> None:
        self.eni.step(EniState.AVAILABLE)
        for address in self.eni.addresses.values():
            address.step(AddressState.AVAILABLE)

    def abort(self) -> list[Effect]:
        self.cloud.remove_eni(self.eni)
        return [RemoveEni(self.eni.id)]


@dataclass(frozen=True, slots=True)
class Attaching:
    """The attachment is on the ENI from the beginning, so that it counts against the quota."""

    cloud: Cloud
    eni: Eni

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.eni,)

    def effects(self) -> list[Effect]:
        return [SetEni(self.eni.port(self.cloud.link_of(self.eni)))]

    def complete(self, now: datetime) -> None:
        self.eni.step(EniState.AVAILABLE)

    def abort(self) -> list[Effect]:
        unplug(self.cloud, self.eni)
        self.eni.step(EniState.AVAILABLE)
        return [SetEni(self.eni.port(None))]


@dataclass(frozen=True, slots=True)
class Detaching:
    cloud: Cloud
    eni: Eni

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.eni,)

    def effects(self) -> list[Effect]:
        return [SetEni(self.eni.port(None))]

    def complete(self, now: datetime) -> None:
        unplug(self.cloud, self.eni)
        self.eni.step(EniState.AVAILABLE)

    def abort(self) -> list[Effect]:
        self.eni.step(EniState.AVAILABLE)
        return [SetEni(self.eni.port(self.cloud.link_of(self.eni)))]


@dataclass(frozen=True, slots=True)
class Deletion:
    cloud: Cloud
    eni: Eni

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.eni,)

    def effects(self) -> list[Effect]:
        return [RemoveEni(self.eni.id)]

    def complete(self, now: datetime) -> None:
        self.cloud.remove_eni(self.eni)

    def abort(self) -> list[Effect]:
        self.eni.step(EniState.AVAILABLE)
        for address in self.eni.addresses.values():
            address.step(AddressState.AVAILABLE)
        return [SetEni(self.eni.port(None))]


def unplug(cloud: Cloud, eni: Eni) -> None:
    """Take the ENI off its instance's list."""
    assert eni.attachment is not None, "only an attached ENI is unplugged"
    del cloud.instances[eni.attachment.instance].enis[eni.attachment.device_index]
    eni.attachment = None
