"""Changes of whole ENIs while they are under way: made, attached, detached, deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.effects import Effect, RemoveEni, SetEni
from services.vpc_simulator.model.eip_changes import keep_eips, let_eips_go
from services.vpc_simulator.model.enis import Attachment, Eni
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
        let_eips_go(self.cloud, self.eni.addresses)
        if self.eni.attachment is not None:
            unplug(self.cloud, self.eni)
        self.cloud.remove_eni(self.eni)

    def abort(self) -> list[Effect]:
        keep_eips(self.cloud, self.eni.addresses)
        self.eni.step(EniState.AVAILABLE)
        for address in self.eni.addresses.values():
            address.step(AddressState.AVAILABLE)
        return [SetEni(self.eni.port(self.cloud.link_of(self.eni)))]


@dataclass(frozen=True, slots=True)
class CreationAttached:
    cloud: Cloud
    eni: Eni

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.eni,)

    def effects(self) -> list[Effect]:
        return [SetEni(self.eni.port(self.cloud.link_of(self.eni)))]

    def complete(self, now: datetime) -> None:
        self.eni.step(EniState.AVAILABLE)
        for address in self.eni.addresses.values():
            address.step(AddressState.AVAILABLE)

    def abort(self) -> list[Effect]:
        unplug(self.cloud, self.eni)
        self.cloud.remove_eni(self.eni)
        return [RemoveEni(self.eni.id)]


@dataclass(frozen=True, slots=True)
class Move:
    """From where the ENI is attached to `there`, whose slot it has from the beginning."""

    cloud: Cloud
    eni: Eni
    there: Attachment

    @property
    def enis(self) -> tuple[Eni, ...]:
        return (self.eni,)

    def effects(self) -> list[Effect]:
        is_up = self.cloud.instances[self.there.instance].has_network
        off, on = self.eni.port(None), self.eni.port(self.there if is_up else None)
        return [SetEni(off), SetEni(on)]

    def complete(self, now: datetime) -> None:
        unplug(self.cloud, self.eni)
        self.eni.attachment = self.there
        self.eni.step(EniState.AVAILABLE)

    def abort(self) -> list[Effect]:
        del self.cloud.instances[self.there.instance].enis[self.there.device_index]
        self.eni.step(EniState.AVAILABLE)
        return [
            SetEni(self.eni.port(None)),
            SetEni(self.eni.port(self.cloud.link_of(self.eni))),
        ]


def unplug(cloud: Cloud, eni: Eni) -> None:
    """Take the ENI off its instance's list."""
    assert eni.attachment is not None, "only an attached ENI is unplugged"
    del cloud.instances[eni.attachment.instance].enis[eni.attachment.device_index]
    eni.attachment = None
