"""Subnets and who has which of their addresses: one holder per address, kept in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NewType

from services.vpc_simulator.model.failures import ApiFailure, Code
from shared.ids import EniId, SubnetId, VpcId, Zone

RESERVED_FIRST: Final = 2  # the network's own address and the gateway
RESERVED_LAST: Final = 1
PREFIX_LENGTH_MAX: Final = 29  # the cloud's smallest subnet: five usable addresses

ReservationId = NewType("ReservationId", str)

ENI_HOLDER: Final = "CVM"  # what the API calls the type of an address that an ENI has


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has an address: one of the ENIs, or another resource of the cloud."""

    kind: str
    eni: EniId | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """An address that an account keeps: free, or on a network interface of its own.

    It outlives the use: an address that leaves its interface is kept again.
    """

    id: ReservationId
    subnet: SubnetId
    address: IPv4Address
    account: str
    name: str
    description: str
    tags: dict[str, str]
    created_at: datetime


@dataclass(slots=True, kw_only=True)
class Subnet:
    """A subnet of one zone. Its gateway is its first address."""

    id: SubnetId
    vpc: VpcId
    name: str
    cidr: IPv4Network
    zone: Zone
    created_at: datetime
    holders: dict[IPv4Address, Holder] = field(default_factory=dict)
    reserved: dict[IPv4Address, Reservation] = field(default_factory=dict)
    turn: int = 0  # addresses are given in turn, so that a freed one rests longest

    @property
    def gateway(self) -> IPv4Address:
        return self.cidr.network_address + 1

    @property
    def total(self) -> int:
        return self.cidr.num_addresses - RESERVED_FIRST - RESERVED_LAST

    @property
    def available(self) -> int:
        """Addresses that anybody may be given."""
        kept = sum(address not in self.holders for address in self.reserved)
        return self.total - len(self.holders) - kept

    def check_free(self, address: IPv4Address, *, account: str | None) -> None:
        """Refuse what is outside, the cloud's own, taken, or reserved by another account."""
        if address not in self.cidr:
            raise ApiFailure(Code.RANGE, f"The address {address} is not in {self.cidr}.")
        if self._is_reserved(address):
            raise ApiFailure(Code.RESERVED, f"The address {address} is reserved.")
        if address in self.holders:
            raise ApiFailure(Code.RESOURCE_IN_USE, f"The address {address} is in use.")
        kept = self.reserved.get(address)
        if kept is not None and kept.account != account:
            raise ApiFailure(Code.RESOURCE_IN_USE, f"The address {address} is kept: {kept.id}.")

    def pick(
        self, count: int, *, besides: frozenset[IPv4Address] = frozenset()
    ) -> list[IPv4Address]:
        """`count` free addresses other than `besides`; taken only by `take`."""
        unkept = besides - self.reserved.keys()
        if count > self.available - len(unkept):
            raise ApiFailure(
                Code.SUBNET_INSUFFICIENT,
                f"The subnet {self.id} has {self.available} free addresses,"
                f" {count + len(unkept)} are needed.",
            )
        picked: list[IPv4Address] = []
        while len(picked) < count:
            address = self.cidr.network_address + RESERVED_FIRST + self.turn
            self.turn = (self.turn + 1) % self.total
            if not any(address in each for each in (self.holders, self.reserved, besides)):
                picked.append(address)
        return picked

    def take(self, address: IPv4Address, holder: Holder) -> None:
        assert address not in self.holders, "an address has one holder"
        assert not self._is_reserved(address), "reserved addresses are never given"
        self.holders[address] = holder

    def hand_over(self, address: IPv4Address, *, from_eni: EniId, to: Holder) -> None:
        """Change the holder in one step, so that nobody can take the address in between."""
        assert self.holders[address].eni == from_eni, "only the holder hands over"
        self.holders[address] = to

    def give_back(self, address: IPv4Address, *, eni: EniId) -> None:
        assert self.holders[address].eni == eni, "only the holder gives back"
        del self.holders[address]

    def _is_reserved(self, address: IPv4Address) -> bool:
        offset = int(address) - int(self.cidr.network_address)
        return offset < RESERVED_FIRST or offset >= self.cidr.num_addresses - RESERVED_LAST
