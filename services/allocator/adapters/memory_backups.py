"""Leases as a backup holds them, in memory: put back, looked at many at a time, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.allocator.domain.leases import Lease, PutBackStatus, Step
from shared.addresses import AddressState
from shared.ids import Identity

from .memory_books import MemoryBooks


class MemoryBackups(MemoryBooks):
    """What backup, restore and comparison ask of the store."""

    async def put_back(
        self, lease: Lease, *, replace: bool, is_trial: bool
    ) -> Step[PutBackStatus]:
        self._check_epoch()
        for other in self._books.fixed.values():
            if other.address == lease.address and other.identity != lease.identity:
                return Step(status=PutBackStatus.ADDRESS_TAKEN, lease=None, is_journaled=True)
        known = self._books.fixed.get(lease.identity)
        if known is not None:
            if _look(known) == _look(lease):
                return self._as_is(PutBackStatus.SAME, known)
            if known.state is AddressState.MOVING:
                return self._as_is(PutBackStatus.MOVING, known)
            if not replace:
                return self._as_is(PutBackStatus.LIVE, known)
        if is_trial:
            return Step(status=PutBackStatus.RESTORED, lease=None, is_journaled=True)
        return self._keep(PutBackStatus.RESTORED, _as_restored(lease), since=lease.since)

    async def found_of(self, identities: Sequence[Identity]) -> list[Lease | None]:
        return [self._books.fixed.get(identity) for identity in identities]

    async def count(self) -> int:
        return len(self._books.fixed)


def _as_restored(lease: Lease) -> Lease:
    # The agent that has it bound will name the bind it knows of.
    if lease.state is not AddressState.BOUND_FIXED:
        return lease
    return replace(lease, bound_generation=lease.release_generation)


def _look(lease: Lease) -> tuple[object, ...]:
    return lease.address, lease.state, lease.node, lease.pod_uid
