"""How a fixed lease ends in memory, or loses its place: by its span, by a word, handed over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from services.allocator.domain.leases import (
    NOWHERE,
    ExpireStatus,
    ForgetStatus,
    GiveUpStatus,
    Lease,
    ParkStatus,
    PolicyStatus,
    Step,
    VacateStatus,
)
from shared.addresses import AddressState
from shared.ids import Generation, Identity, Incarnation, NodeName
from shared.policies import LeasePolicy

from .memory_books import Mark, MemoryBooks


class MemoryEnds(MemoryBooks):
    """The steps of the reaper and of people."""

    async def take_due(
        self, by: datetime, *, limit: int, retry: timedelta, look: timedelta
    ) -> list[Lease]:
        self._check_epoch()
        leases = self._due(by)[:limit]
        for lease in leases:
            ends = lease.since if lease.state is AddressState.EXPIRED else lease.expires_at
            is_parked_soon = lease.is_leaving or lease.moving_to == NOWHERE
            is_due = ends is not None and ends <= by
            later = by + retry if is_due or is_parked_soon else by + look
            if ends is not None and by < ends < later:
                later = ends
            self._books.put_off[lease.identity] = later
        return leases

    async def take_begun(
        self, by: datetime, *, limit: int, retry: timedelta, rank: int
    ) -> tuple[list[Lease], int]:
        self._check_epoch()
        seen = self._due(by)[rank : rank + limit]
        leases = [
            each
            for each in seen
            if each.state is AddressState.EXPIRED or each.moving_to == NOWHERE
        ]
        for lease in leases:
            self._books.put_off[lease.identity] = by + retry
        is_last = len(seen) < limit
        return leases, 0 if is_last else rank + len(seen) - len(leases)

    def _due(self, by: datetime) -> list[Lease]:
        """Longest due first."""
        moments = {
            identity: self._books.put_off.get(identity, due)
            for identity, lease in self._books.fixed.items()
            if (due := lease.looked_at) is not None
        }
        taken = sorted(
            (each for each in moments if moments[each] <= by), key=moments.__getitem__
        )
        return [self._books.fixed[identity] for identity in taken]

    async def expire(self, identity: Identity, by: datetime) -> Step[ExpireStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=ExpireStatus.UNKNOWN, lease=None, is_journaled=True)
        if lease.state is AddressState.EXPIRED:
            return self._as_is(ExpireStatus.EXPIRED, lease)
        if lease.expires_at is None or lease.expires_at > by:
            return self._as_is(ExpireStatus.KEPT, lease)
        return self._keep(ExpireStatus.EXPIRED, replace(lease, state=AddressState.EXPIRED))

    async def park(self, identity: Identity, until: datetime) -> Step[ParkStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=ParkStatus.UNKNOWN, lease=None, is_journaled=True)
        if lease.moving_to == NOWHERE:
            return self._as_is(ParkStatus.PARKING, lease)
        if lease.state is not AddressState.RETAINED or lease.since > until:
            return self._as_is(ParkStatus.KEPT, lease)
        leaving = replace(lease, state=AddressState.MOVING, moving_to=NOWHERE)
        return self._keep(ParkStatus.PARKING, leaving, since=lease.since)

    async def leave(self, node: NodeName) -> None:
        self._check_epoch()
        if (known := self._books.marks.get(node)) is not None:
            after = Incarnation(known.incarnation + 1)
            self._books.marks[node] = Mark(incarnation=after, nonce="")
        self._books.gone.add(node)
        self._books.reported.pop(node, None)

    async def vacate(
        self,
        identity: Identity,
        generation: Generation,
        node: NodeName,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[VacateStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=VacateStatus.UNKNOWN, lease=None, is_journaled=True)
        is_bound = lease.state is AddressState.BOUND_FIXED
        is_there = is_bound or lease.state is AddressState.RETAINED
        if not is_there or lease.node != node or lease.generation != generation:
            return self._as_is(VacateStatus.SUPERSEDED, lease)
        is_settled = lease.is_expiry_set or lease.policy is LeasePolicy.IMMEDIATE
        placeless = replace(
            lease,
            state=AddressState.PARKED,
            node=None,
            bound_generation=None,
            policy=policy if is_bound and not is_settled else lease.policy,
        )
        since = None if is_bound else lease.since
        return self._keep(VacateStatus.PARKED, placeless, since=since)

    async def give_up(
        self,
        identity: Identity,
        generation: Generation,
        *,
        force: bool,
        is_called_off: bool = False,
    ) -> Step[GiveUpStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=GiveUpStatus.UNKNOWN, lease=None, is_journaled=True)
        if lease.state is AddressState.EXPIRED:
            return self._as_is(GiveUpStatus.EXPIRED, lease)
        if lease.generation != generation:
            return self._as_is(GiveUpStatus.SUPERSEDED, lease)
        is_refused = is_called_off and not lease.has_place
        if lease.state is AddressState.MOVING and not is_refused:
            return self._as_is(GiveUpStatus.MOVING, lease)
        if lease.state is AddressState.BOUND_FIXED and not force:
            return self._as_is(GiveUpStatus.IN_USE, lease)
        ended = replace(
            lease,
            state=AddressState.EXPIRED,
            node=lease.moving_to or lease.node,
            moving_to=None,
            bound_generation=None,
        )
        return self._keep(GiveUpStatus.EXPIRED, ended)

    async def set_policy(
        self,
        identity: Identity,
        expires_after: timedelta | None,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[PolicyStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=PolicyStatus.UNKNOWN, lease=None, is_journaled=True)
        if lease.state is AddressState.MOVING:
            return self._as_is(PolicyStatus.MOVING, lease)
        if lease.state is AddressState.EXPIRED:
            return self._as_is(PolicyStatus.EXPIRED, lease)
        asked = (True, policy, expires_after)
        if (lease.is_expiry_set, lease.policy, lease.expires_after) == asked:
            return self._as_is(PolicyStatus.SET, lease)
        is_bound = lease.state is AddressState.BOUND_FIXED
        changed = replace(
            lease,
            expires_after=expires_after,
            policy=policy,
            is_expiry_set=True,
            bound_generation=lease.release_generation if is_bound else None,
        )
        return self._keep(PolicyStatus.SET, changed, since=lease.since)

    async def forget(self, identity: Identity, generation: Generation) -> ForgetStatus:
        self._check_epoch()
        books, lease = self._books, self._books.fixed.get(identity)
        if lease is None:
            return ForgetStatus.UNKNOWN
        if lease.state is not AddressState.EXPIRED or lease.generation != generation:
            return ForgetStatus.SUPERSEDED
        del books.fixed[identity]
        books.unjournaled.pop(identity, None)
        books.put_off.pop(identity, None)
        return ForgetStatus.FORGOTTEN
