"""Whether an address may be taken from its lease (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from shared.addresses import AddressState
from shared.errors import Stale
from shared.ids import EniId, Identity, NodeName

from .moves import FixedLease


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaim:
    identity: Identity
    address: IPv4Address
    node: NodeName | None  # None: parked
    generation: int
    eni: EniId | None = None


def check_expired(reclaim: Reclaim, lease: FixedLease | None) -> None:
    """Only the lease's own expired step gives its address away. Raises Stale."""
    if lease is None:
        raise Stale(f"{reclaim.identity} has no lease: its address was handed over before")
    if lease.state is not AddressState.EXPIRED or lease.generation != reclaim.generation:
        raise Stale(
            f"the lease of {reclaim.identity} is {lease.state} at generation"
            f" {lease.generation}: it has not expired at generation {reclaim.generation}"
        )
    if lease.address != reclaim.address:
        raise Stale(
            f"the lease of {reclaim.identity} is on {lease.address}, not {reclaim.address}"
        )
