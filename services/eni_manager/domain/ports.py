"""What the eni_manager needs of the world beside the cloud (shared.cloud.port)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from typing import Protocol

from shared.capacities import CapacityWish, CloudCalls
from shared.clusters import Cluster
from shared.errors import Busy
from shared.ids import EniId, Identity, InstanceId, NodeName, SubnetId

from .capacities import Capacities
from .moves import FixedLease
from .records import AddressRecord, EniRecord, NodeImage, NodeRecord, Record, UnclaimedEni
from .vacancies import Vacancy


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One unbroken ownership of a shard of nodes; numbers only ever rise."""

    shard: int
    number: int
    ends_at_s: float  # monotonic, this machine's: work stops here, before the store's limit


class TermEnded(Busy):
    """Another replica looks after the node by now, or will: whoever asked asks again."""


class EniStore(Protocol):
    """The record of what exists. Every write is refused unless the term still holds."""

    async def claim(self, shard: int, *, ttl_s: float) -> Term | None:
        """Take or renew; None while another owner's term holds."""
        ...

    async def give_up(self, term: Term) -> None: ...

    async def load_nodes(self) -> list[NodeRecord]: ...

    async def load(self, node: NodeRecord) -> NodeImage: ...

    async def write(
        self,
        term: Term,
        node: NodeName,
        *,
        put: Sequence[Record] = (),
        drop: Sequence[Record] = (),
    ) -> None:
        """All or nothing. Raises TermEnded when the term was lost."""
        ...

    async def remember_left(self, node: NodeRecord) -> None:
        """It has left: which instance it was stays known for long enough."""
        ...

    async def instance_of_left(self, node: NodeName) -> InstanceId | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VacancyPage:
    """Nodes in the order in which they changed."""

    revision: int  # of the last of them
    newest: int  # of the newest change there is
    floor: int  # who was last up to date before this does not know of nodes that left
    is_last: bool
    nodes: tuple[Vacancy, ...]


class VacancyBook(Protocol):
    """What every node has and could still take, whichever replica looks after it."""

    async def tell(
        self, term: Term, told: Collection[Vacancy], left: Collection[NodeName]
    ) -> None:
        """Raises TermEnded when the term was lost."""
        ...

    async def names(self) -> list[NodeName]: ...

    async def page(self, after: int, limit: int) -> VacancyPage:
        """What has changed after that revision."""
        ...


class ClusterSource(Protocol):
    """A read-only look at the cluster's record."""

    async def read(self) -> Cluster | None:
        """None: there is none, or it is not restored yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Addresses of one subnet that a call may take."""

    subnet: SubnetId
    count: int
    left: int  # in the subnet after it


class Headroom(Protocol):
    """What subnets have left once the calls under way, of every replica, are counted."""

    async def moment_ms(self) -> int:
        """The store's clock: to be read before the cloud is asked what is free."""
        ...

    async def tell(self, free: Mapping[SubnetId, int], *, asked_ms: int) -> None:
        """What the cloud answered."""
        ...

    async def take(
        self, call: str, subnets: Sequence[SubnetId], *, least: int, most: int
    ) -> Taken | None:
        """In the subnet that has most left; None when none has `least`. Safe to repeat."""
        ...

    async def settle(self, call: str, subnet: SubnetId) -> None:
        """The call was answered: it counts until the cloud is asked again."""
        ...

    async def give_back(self, call: str, subnet: SubnetId) -> None:
        """The call took nothing."""
        ...

    async def drop_lost(
        self,
        subnets: Sequence[SubnetId],
        written: Mapping[NodeName, Collection[str]],
        *,
        before_ms: int,
    ) -> None:
        """Former owners of these nodes meant to make calls, before that moment, and did not
        come to write them down: nobody makes them. What is written down stays."""
        ...


class Embargoes(Protocol):
    """Addresses that a call in flight may yet take off an ENI."""

    async def begin(
        self, eni: EniId, addresses: Sequence[IPv4Address], until: datetime
    ) -> None: ...

    async def among(
        self, places: Sequence[tuple[EniId, IPv4Address]]
    ) -> Mapping[tuple[EniId, IPv4Address], datetime]:
        """Until when, for those that are under one."""
        ...


class EniWants(Protocol):
    """Nodes whose pods wait for an ENI, while the VPC has as many as it may."""

    async def add(self, node: NodeName) -> None: ...

    async def end(self, node: NodeName) -> None: ...

    async def take(self) -> bool:
        """One of them, whichever: who takes it meets it."""
        ...

    async def count(self) -> int: ...


class CapacityStore(Protocol):
    """What operators have set, kept where every replica reads it."""

    async def read(self) -> Capacities: ...

    async def put(self, scope: str, wish: CapacityWish) -> None:
        """In place of what the scope said; an empty wish says nothing any more."""
        ...

    async def put_calls(self, calls: CloudCalls) -> None: ...


class UnclaimedBook(Protocol):
    """ENIs of ours that the last look found in no node's book, for every replica to show."""

    async def read(self) -> Sequence[UnclaimedEni]: ...

    async def write(self, found: Sequence[UnclaimedEni]) -> None:
        """In the place of what the look before it found."""
        ...


class Leases(Protocol):
    """A read-only look at the allocator's leases."""

    async def find(self, identity: Identity) -> FixedLease | None: ...

    async def leased_among(self, addresses: Collection[IPv4Address]) -> set[IPv4Address]:
        """Those that some fixed lease names. Raises EpochLost while leases are rebuilt."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An agent refuses what is not newer than the last it heard."""

    term: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferAnswer:
    accepted: frozenset[IPv4Address]
    refused: frozenset[IPv4Address]


class Agents(Protocol):
    """What is said to the agent of a node. All raise Unavailable when it does not answer."""

    async def offer(
        self,
        node: NodeName,
        order: Order,
        enis: Sequence[EniRecord],
        addresses: Sequence[AddressRecord],
        lost: Collection[IPv4Address] = (),
    ) -> OfferAnswer:
        """`lost`: what the cloud has on none of the node's ENIs any more."""
        ...

    async def recall(
        self,
        node: NodeName,
        order: Order,
        *,
        recall: str,
        eni: EniId | None,
        count: int,
        settled: Sequence[str],
        is_exclusive: bool = False,
    ) -> list[IPv4Address]:
        """Idle addresses that the agent has struck off its book; maybe fewer, maybe none."""
        ...

    async def inventory(self, node: NodeName) -> set[IPv4Address]:
        """Every address that the agent calls its own."""
        ...


class Allocators(Protocol):
    """What is asked of those who decide whose an address is."""

    async def make_room(
        self, node: NodeName, subnets: Sequence[SubnetId], count: int
    ) -> Sequence[IPv4Address]:
        """The addresses of retained leases that end. Raises Busy, Unavailable."""
        ...

    async def hold_elsewhere(
        self, node: NodeName, subnets: Sequence[SubnetId], count: int
    ) -> Sequence[IPv4Address]:
        """The addresses of retained leases that are to leave the node, and are kept. Raises
        Busy, Unavailable."""
        ...


class Events(Protocol):
    """What has happened, for whoever listens; never in the way of the work."""

    def eni(
        self,
        verb: str,
        eni: EniId,
        node: NodeName,
        subnet: SubnetId,
        detail: str | None = None,
    ) -> None: ...

    def address(
        self, verb: str, address: IPv4Address, eni: EniId, node: NodeName, reason: str | None
    ) -> None: ...

    def node(self, verb: str, node: NodeRecord, detail: str | None) -> None: ...

    def subnet(self, verb: str, subnet: SubnetId, detail: str) -> None: ...
