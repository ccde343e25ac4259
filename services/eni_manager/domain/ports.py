"""What the eni_manager needs of the world beside the cloud (shared.cloud.port)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from shared.clusters import Cluster
from shared.ids import EniId, Identity, NodeName, SubnetId

from .moves import FixedLease
from .records import AddressRecord, EniRecord, NodeImage, NodeRecord, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One unbroken ownership of a shard of nodes; numbers only ever rise."""

    shard: int
    number: int
    ends_at_s: float  # monotonic, this machine's: work stops here, before the store's limit


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
        """All or nothing. Raises Stale when the term was lost."""
        ...


class ClusterSource(Protocol):
    """A read-only look at the cluster's record."""

    async def read(self) -> Cluster | None:
        """None: there is none, or it is not restored yet."""
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
    ) -> OfferAnswer: ...

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


class Events(Protocol):
    """What has happened, for whoever listens; never in the way of the work."""

    def eni(self, verb: str, eni: EniId, node: NodeName, subnet: SubnetId) -> None: ...

    def address(
        self, verb: str, address: IPv4Address, eni: EniId, node: NodeName, reason: str | None
    ) -> None: ...

    def node(self, verb: str, node: NodeRecord, detail: str | None) -> None: ...
