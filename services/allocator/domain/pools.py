"""Which slot of a workload's pool a pod gets (pure). slots.lua says the same to the store.

A pod keeps the slot it has. Else it gets one that rests, here before elsewhere, longest first;
else a new one; else one in place of a slot that rests where this node cannot have it; else it
takes over what was moved for a pod that did not come; else it waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.addresses import AddressState
from shared.ids import Identity, NodeName

from .leases import AcquireStatus, Claim, Lease, Pool

_RESTS: Final = frozenset({AddressState.RETAINED, AddressState.PARKED})
_OWN, _HERE, _ELSEWHERE, _ON_ITS_WAY = 1, 2, 3, 8
_FOR_ANOTHER: Final = 4  # added: it was moved for a pod that has not taken it yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A slot, or why there is none."""

    slot: Identity | None = None
    refusal: AcquireStatus | None = None
    ends: Identity | None = None  # the slot that is ended for it


def choose_slot(claim: Claim, leases: Mapping[Identity, Lease]) -> Choice:
    pool = claim.pool
    assert pool is not None, "only a pooled claim gets a slot"
    known = {slot: leases.get(slot) for slot in pool.slots}
    there = {slot: lease for slot, lease in known.items() if lease is not None}
    unused = next((slot for slot, lease in known.items() if lease is None), None)
    live = sum(lease.state is not AddressState.EXPIRED for lease in there.values())
    ranks = {slot: _rank(lease, claim, pool) for slot, lease in there.items()}
    had = [
        (rank, there[slot].generation, slot) for slot, rank in ranks.items() if rank is not None
    ]
    foreign = [
        (lease.generation, slot)
        for slot, lease in there.items()
        if ranks[slot] is None and lease.state in _RESTS
    ]
    best = min(had, key=lambda each: each[:2], default=None)
    if best is not None and best[0] <= _ELSEWHERE:
        return Choice(slot=best[2])
    if unused is not None and claim.candidate is not None:
        if live < pool.size:
            return Choice(slot=unused)
        if foreign:
            return Choice(slot=unused, ends=min(foreign, key=lambda each: each[0])[1])
    if best is not None:
        return Choice(slot=best[2])
    has_room = unused is not None and (live < pool.size or foreign)
    return Choice(refusal=AcquireStatus.NO_CANDIDATE if has_room else AcquireStatus.POOL_FULL)


def _rank(lease: Lease, claim: Claim, pool: Pool) -> int | None:
    """The lower, the sooner; None: not to be had."""
    node = claim.fence.node
    if lease.state is AddressState.BOUND_FIXED:
        is_its_own = (lease.pod_uid, lease.node) == (claim.pod_uid, node)
        return _OWN if is_its_own else None
    is_here = _is_here(lease, node)
    if is_here and lease.reserved_for == claim.pod_uid:
        return _OWN
    if lease.state in _RESTS and (is_here or lease.subnet in pool.subnets):
        rank = _HERE if is_here else _ELSEWHERE
        return rank + (_FOR_ANOTHER if lease.reserved_for is not None else 0)
    return _ON_ITS_WAY if is_here else None


def _is_here(lease: Lease, node: NodeName) -> bool:
    if lease.state is AddressState.MOVING:
        return lease.moving_to == node
    return lease.state is AddressState.RETAINED and lease.node == node
