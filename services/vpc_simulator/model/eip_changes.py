"""Changes of EIPs while they are under way. The network of the VPC knows nothing of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.effects import Effect
from services.vpc_simulator.model.eips import Eip, EipState
from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.failures import ApiFailure, Code


@dataclass(frozen=True, slots=True)
class _OfEips:
    cloud: Cloud
    eips: tuple[Eip, ...]

    @property
    def enis(self) -> tuple[Eni, ...]:
        return ()

    def effects(self) -> list[Effect]:
        return []


@dataclass(frozen=True, slots=True)
class Allocation(_OfEips):
    def complete(self, now: datetime) -> None:
        for eip in self.eips:
            eip.step(EipState.UNBIND)

    def abort(self) -> list[Effect]:
        for eip in self.eips:
            del self.cloud.eips[eip.id]
        return []


@dataclass(frozen=True, slots=True)
class Association(_OfEips):
    def complete(self, now: datetime) -> None:
        for eip in self.eips:
            eip.step(EipState.BIND)

    def abort(self) -> list[Effect]:
        for eip in self.eips:
            _let_go(self.cloud, eip)
        return []


@dataclass(frozen=True, slots=True)
class Disassociation(_OfEips):
    def complete(self, now: datetime) -> None:
        for eip in self.eips:
            _let_go(self.cloud, eip)

    def abort(self) -> list[Effect]:
        for eip in self.eips:
            eip.step(EipState.BIND)
        return []


@dataclass(frozen=True, slots=True)
class Release(_OfEips):
    def complete(self, now: datetime) -> None:
        for eip in self.eips:
            del self.cloud.eips[eip.id]

    def abort(self) -> list[Effect]:
        for eip in self.eips:
            eip.step(EipState.UNBIND)
        return []


# Addresses that leave their ENI take their EIPs off with them: three calls, in this order.


def check_eips_settled(cloud: Cloud, addresses: Iterable[IPv4Address]) -> None:
    """Before an address begins to leave: its EIP must not be under change itself."""
    for eip in _leading_to(cloud, addresses):
        if eip.state is not EipState.BIND:
            raise ApiFailure(Code.MUTEX, f"The EIP {eip.id} of the address is {eip.state}.")


def unbind_eips(cloud: Cloud, addresses: Iterable[IPv4Address]) -> None:
    for eip in _leading_to(cloud, addresses):
        eip.step(EipState.UNBINDING)


def let_eips_go(cloud: Cloud, addresses: Iterable[IPv4Address]) -> None:
    for eip in _leading_to(cloud, addresses):
        _let_go(cloud, eip)


def keep_eips(cloud: Cloud, addresses: Iterable[IPv4Address]) -> None:
    """Instead of the last: the addresses stay."""
    for eip in _leading_to(cloud, addresses):
        eip.step(EipState.BIND)


def _leading_to(cloud: Cloud, addresses: Iterable[IPv4Address]) -> list[Eip]:
    known = cloud.eips_by_private
    return [cloud.eips[known[each]] for each in addresses if each in known]


def _let_go(cloud: Cloud, eip: Eip) -> None:
    assert eip.private_address is not None, "it led somewhere"
    del cloud.eips_by_private[eip.private_address]
    eip.private_address = None
    eip.is_direct = False
    eip.step(EipState.UNBIND)
