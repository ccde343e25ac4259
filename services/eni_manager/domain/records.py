"""What the eni_manager keeps of a node: its ENIs, their addresses, and what was begun.

These shapes are stored; version N reads N-1, so a field may only be added, with a default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from shared.ids import EniId, InstanceId, NodeName, SubnetId, VpcId, Zone


class Purpose(StrEnum):
    """What an ENI was made for; it is one of the tags that the ENI carries."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"
    PARKING = "parking"
    PRIMARY = "primary"  # the instance's own: never ours to change


class Hold(StrEnum):
    """Who answers for an address, as far as the eni_manager knows."""

    ASSIGNING = "assigning"  # the eni_manager's: not yet taken by the agent
    GIVEN = "given"  # the agent's or a lease's
    UNASSIGNING = "unassigning"  # the eni_manager's, on its way out
    RECLAIMED = "reclaimed"  # the eni_manager's, of an expired lease that is to be forgotten
    QUARANTINED = "quarantined"  # in doubt: kept back, with a reason


class IntentKind(StrEnum):
    ADD_ENI = "add_eni"
    REMOVE_ENI = "remove_eni"
    ASSIGN = "assign"
    UNASSIGN = "unassign"
    RECALL = "recall"
    MOVE = "move"


class Unclaimed(StrEnum):
    """Why an ENI is in no book."""

    STRANGER = "stranger"  # not made by us, on a node's instance: left alone, takes up a slot
    STRAY = "stray"  # made by us, on an instance that has no node: left alone
    ORPHAN = "orphan"  # made by us, on no instance: swept after its grace time


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingIn:
    """Pods that take an address of these subnets, and no other."""

    subnets: tuple[SubnetId, ...]
    count: int  # that found no idle one there
    idle: int  # there by now


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How many of a node's addresses are in each state, as its agent counts them."""

    idle: int = 0
    promised: int = 0
    cooling: int = 0
    bound: int = 0
    waiting: int = 0  # pods that found no idle address
    waiting_in: tuple[WaitingIn, ...] = ()  # not among `waiting`

    @property
    def has_waiting(self) -> bool:
        return self.waiting > 0 or bool(self.waiting_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnclaimedEni:
    """An ENI at the cloud that no book has, as people are told of it."""

    eni: EniId
    found: Unclaimed
    subnet: SubnetId
    primary_address: IPv4Address
    instance: InstanceId | None
    node: str | None  # that is on its instance, else the one that its tags name
    tags: tuple[str, ...]  # key=value, as the cloud shows them

    @property
    def what(self) -> str:
        tags = ", ".join(self.tags) or "none"
        return f"{self.primary_address} on {self.instance or 'no instance'}, tags: {tags}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    node: NodeName
    instance: InstanceId
    incarnation: int
    demand: Demand
    heard_at: datetime
    vpc: VpcId | None = None
    zone: Zone | None = None
    enis_max: int | None = None  # secondary ones that fit, strangers included
    addresses_max: int | None = None  # secondary ones per ENI
    has_joined: bool = False
    problem: str | None = None
    problem_code: str | None = None  # the cloud's, else ours
    problem_request: str | None = None  # by which the cloud finds the call that failed
    warning: str | None = None  # served, but not as the cluster was enabled
    settled: tuple[str, ...] = ()  # recalls whose answers the agent may forget
    group: str | None = None  # of nodes, by its agent's word
    warm_min: int | None = None  # by its agent's word
    warm_max: int | None = None
    exclusive: Demand = Demand()  # of ENIs that one pod has as a whole
    strangers: tuple[UnclaimedEni, ...] = ()  # ENIs on its instance that are not ours
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EniRecord:
    eni: EniId
    subnet: SubnetId
    cidr: IPv4Network
    mac: str
    primary_address: IPv4Address
    purpose: Purpose
    security_groups: tuple[str, ...] = ()
    version: int = 1

    @property
    def is_primary(self) -> bool:
        return self.purpose is Purpose.PRIMARY

    @property
    def is_exclusive(self) -> bool:
        return self.purpose is Purpose.EXCLUSIVE

    @property
    def gateway(self) -> IPv4Address:
        return self.cidr.network_address + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRecord:
    address: IPv4Address
    eni: EniId
    hold: Hold
    reason: str | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Written before a call that changes the cloud; its id is the call's token."""

    intent: str
    kind: IntentKind
    eni: EniId | None = None
    subnet: SubnetId | None = None
    count: int = 0
    addresses: tuple[IPv4Address, ...] = ()
    security_groups: tuple[str, ...] = ()
    purpose: Purpose = Purpose.SHARED  # of the ENI that is made, or of those recalled from
    source: EniId | None = None  # of a migration
    term: int = 0  # of the owner that began it
    version: int = 1


Record = NodeRecord | EniRecord | AddressRecord | Intent


@dataclass(slots=True, kw_only=True)
class NodeImage:
    """All records of one node, as they are stored and as its owner keeps them in memory."""

    node: NodeRecord
    enis: dict[EniId, EniRecord] = field(default_factory=dict)
    addresses: dict[IPv4Address, AddressRecord] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)

    def on(self, eni: EniId) -> list[AddressRecord]:
        return [each for each in self.addresses.values() if each.eni == eni]

    def held(self, hold: Hold) -> list[AddressRecord]:
        return [each for each in self.addresses.values() if each.hold is hold]

    def secondary(self) -> list[EniRecord]:
        """The ENIs that many pods share; those that are being removed carry none."""
        return self._staying(Purpose.SHARED)

    def ours(self) -> frozenset[EniId]:
        """All that take up slots beside the instance's own; those that leave too."""
        return frozenset(each.eni for each in self.enis.values() if not each.is_primary)

    def whole(self) -> list[EniRecord]:
        """The ENIs that one pod has, or may have, each with its primary address."""
        return self._staying(Purpose.EXCLUSIVE)

    def leaving(self) -> frozenset[EniId]:
        """Those whose removal has begun: they are used for nothing any more."""
        return frozenset(
            each.eni
            for each in self.intents.values()
            if each.kind is IntentKind.REMOVE_ENI and each.eni is not None
        )

    def _staying(self, purpose: Purpose) -> list[EniRecord]:
        leaving = self.leaving()
        return [
            each
            for each in self.enis.values()
            if each.purpose is purpose and each.eni not in leaving
        ]

    def room(self, eni: EniId) -> int:
        """Secondary addresses that still fit on the ENI."""
        return max(0, (self.node.addresses_max or 0) - len(self.on(eni)))
