"""Leases in memory: LeaseStore and EpochStore, the model of the scripts.

Here are the steps that agents ask for; `memory_ends` has those that end a lease,
`memory_epochs` the recovery, `memory_books` what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from services.allocator.domain.leases import (
    NOMINATION_KEPT,
    NOWHERE,
    AcquireStatus,
    ArriveStatus,
    Claim,
    FencedBy,
    Lease,
    Nomination,
    RetainStatus,
    Step,
    StockCandidate,
    TakeOverStatus,
)
from services.allocator.domain.pools import choose_slot
from services.allocator.domain.ports import ReportedView
from shared.addresses import AddressState
from shared.ids import EniId, Generation, Identity, Incarnation, NodeName
from shared.policies import LeasePolicy

from .memory_backups import MemoryBackups
from .memory_books import Mark, refusal
from .memory_ends import MemoryEnds
from .memory_epochs import MemoryEpochs


class MemoryLeases(MemoryEnds, MemoryEpochs, MemoryBackups):
    """The leases of one cluster."""

    async def register(self, node: NodeName, *, last: Incarnation, nonce: str) -> Incarnation:
        self._check_epoch()
        known = self._books.marks.get(node)
        if known is not None and known.nonce == nonce:
            return known.incarnation
        before = max(known.incarnation if known is not None else 0, last)
        self._books.marks[node] = Mark(incarnation=Incarnation(before + 1), nonce=nonce)
        self._books.gone.discard(node)
        return self._books.marks[node].incarnation

    async def acquire(self, claim: Claim) -> Step[AcquireStatus]:
        self._check(claim.fence, str(claim.attachment))
        if claim.pool is None:
            return self._acquire(claim)
        choice = choose_slot(claim, self._books.fixed)
        if choice.slot is None:
            assert choice.refusal is not None, "no slot without a reason"
            return Step(status=choice.refusal, lease=None, is_journaled=True)
        ended = None
        if choice.ends is not None and not self._is_taken(claim.candidate):
            oldest = self._books.fixed[choice.ends]
            ended = self._keep(
                AcquireStatus.BOUND, replace(oldest, state=AddressState.EXPIRED)
            ).lease
        step = self._acquire(replace(claim, identity=choice.slot))
        return replace(step, ended=ended)

    def _acquire(self, claim: Claim) -> Step[AcquireStatus]:
        node = claim.fence.node
        lease = self._books.fixed.get(claim.identity)
        if lease is None:
            return self._first(claim)
        is_other_kind = lease.is_exclusive is not claim.is_exclusive
        if is_other_kind and lease.state is not AddressState.EXPIRED:
            return self._as_is(AcquireStatus.OTHER_KIND, lease)
        match lease.state:
            case AddressState.BOUND_FIXED:
                if (lease.pod_uid, lease.node) != (claim.pod_uid, node):
                    return self._as_is(AcquireStatus.HOLDER_ALIVE, lease)
                if lease.attachment == str(claim.attachment):
                    return self._as_is(AcquireStatus.HELD, lease)
                return self._bind(lease, claim)
            case AddressState.RETAINED if lease.node == node:
                return self._bind(lease, claim)
            case AddressState.RETAINED | AddressState.PARKED:
                moving = replace(
                    lease,
                    state=AddressState.MOVING,
                    moving_to=node,
                    reserved_for=claim.pod_uid if claim.pool is not None else None,
                )
                return self._keep(AcquireStatus.MUST_MOVE, moving)
            case AddressState.MOVING:
                is_here = lease.moving_to == node
                status = AcquireStatus.MUST_MOVE if is_here else AcquireStatus.MOVING
                return self._as_is(status, lease)
        return self._as_is(AcquireStatus.EXPIRING, lease)

    async def arrive(
        self, identity: Identity, generation: Generation, node: NodeName, eni: EniId
    ) -> Step[ArriveStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=ArriveStatus.UNKNOWN, lease=None, is_journaled=True)
        if lease.state is not AddressState.MOVING or lease.generation != generation:
            return self._as_is(ArriveStatus.SUPERSEDED, lease)
        there = replace(lease, state=AddressState.RETAINED, node=node, eni=eni, moving_to=None)
        if node in self._books.gone:
            there = replace(there, state=AddressState.PARKED, node=None)
        since = lease.since if lease.moving_to == NOWHERE else None
        return self._keep(ArriveStatus.ARRIVED, there, since=since)

    async def take_over(
        self, identity: Identity, generation: Generation, claim: Claim
    ) -> Step[TakeOverStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=TakeOverStatus.UNKNOWN, lease=None, is_journaled=True)
        node, is_bound = claim.fence.node, lease.state is AddressState.BOUND_FIXED
        if not is_bound or lease.node == node or lease.generation != generation:
            return self._as_is(TakeOverStatus.SUPERSEDED, lease)
        moving = replace(
            lease,
            state=AddressState.MOVING,
            moving_to=node,
            bound_generation=None,
            reserved_for=claim.pod_uid if claim.pool is not None else None,
        )
        return self._keep(TakeOverStatus.MOVING, moving)

    async def parked(self, identity: Identity, generation: Generation) -> Step[ArriveStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=ArriveStatus.UNKNOWN, lease=None, is_journaled=True)
        if lease.state is not AddressState.MOVING or lease.generation != generation:
            return self._as_is(ArriveStatus.SUPERSEDED, lease)
        there = replace(lease, state=AddressState.PARKED, node=None, moving_to=None)
        return self._keep(ArriveStatus.ARRIVED, there, since=lease.since)

    async def retain(
        self,
        fence: FencedBy,
        identity: Identity,
        attachment: str,
        generation: Generation,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[RetainStatus]:
        releases = self._check(fence).ended
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=RetainStatus.UNKNOWN, lease=None, is_journaled=True)
        is_its_own = lease.attachment == attachment
        if lease.state is AddressState.RETAINED and is_its_own:
            releases[attachment] = max(fence.sequence, releases.get(attachment, 0))
            return self._as_is(RetainStatus.RETAINED, lease)
        is_holder = lease.state is AddressState.BOUND_FIXED and is_its_own
        if not is_holder or lease.release_generation != generation:
            return self._as_is(RetainStatus.SUPERSEDED, lease)
        releases[attachment] = fence.sequence
        is_settled = lease.is_expiry_set or lease.policy is LeasePolicy.IMMEDIATE
        ended = replace(
            lease,
            state=AddressState.RETAINED,
            bound_generation=None,
            policy=lease.policy if is_settled else policy,
        )
        return self._keep(RetainStatus.RETAINED, ended)

    async def report(
        self,
        fence: FencedBy,
        views: Sequence[ReportedView],
        gone: Sequence[IPv4Address],
        candidates: Sequence[IPv4Address] = (),
        *,
        is_whole: bool,
    ) -> list[IPv4Address]:
        mark = self._check(fence)
        if fence.sequence < mark.last_report:
            raise refusal("stale", fence)
        mark.last_report = fence.sequence
        known = {} if is_whole else self._books.reported.setdefault(fence.node, {})
        known |= {view.address: view for view in views}
        for address in gone:
            known.pop(address, None)
        self._books.reported[fence.node] = known
        leased = {lease.address for lease in self._books.fixed.values()}
        return [address for address in candidates if address in leased]

    def _first(self, claim: Claim) -> Step[AcquireStatus]:
        candidate = claim.candidate
        if candidate is None and claim.nomination is not None:
            return self._nominate(claim, claim.nomination)
        if candidate is None:
            return Step(status=AcquireStatus.NO_CANDIDATE, lease=None, is_journaled=True)
        if self._is_taken(candidate):
            return Step(status=AcquireStatus.CANDIDATE_TAKEN, lease=None, is_journaled=True)
        lease = Lease(
            identity=claim.identity,
            address=candidate.address,
            state=AddressState.BOUND_FIXED,
            generation=Generation(1),
            subnet=candidate.subnet,
            node=claim.fence.node,
            eni=candidate.eni,
            moving_to=None,
            pod_uid=claim.pod_uid,
            attachment=str(claim.attachment),
            since=self._now(),
            expires_after=claim.expires_after,
            workload=_workload(claim),
            is_exclusive=claim.is_exclusive,
            policy=claim.policy,
        )
        return self._keep(AcquireStatus.BOUND, lease)

    def _nominate(self, claim: Claim, nomination: Nomination) -> Step[AcquireStatus]:
        for other in self._books.fixed.values():
            if other.address == nomination.address:
                return self._as_is(AcquireStatus.NOMINATED_TAKEN, other)
        lease = Lease(
            identity=claim.identity,
            address=nomination.address,
            state=AddressState.MOVING,
            generation=Generation(1),
            subnet=nomination.subnet,
            node=None,
            eni=None,
            moving_to=claim.fence.node,
            pod_uid=None,
            attachment=None,
            since=self._now(),
            expires_after=NOMINATION_KEPT,
        )
        return self._keep(AcquireStatus.MUST_MOVE, lease)

    def _is_taken(self, candidate: StockCandidate | None) -> bool:
        leases = self._books.fixed.values()
        return candidate is not None and any(it.address == candidate.address for it in leases)

    def _bind(self, lease: Lease, claim: Claim) -> Step[AcquireStatus]:
        bound = replace(
            lease,
            state=AddressState.BOUND_FIXED,
            pod_uid=claim.pod_uid,
            attachment=str(claim.attachment),
            expires_after=lease.expires_after if lease.is_expiry_set else claim.expires_after,
            policy=lease.policy if lease.is_expiry_set else claim.policy,
            bound_generation=None,
            reserved_for=None,
            workload=_workload(claim),
        )
        return self._keep(AcquireStatus.BOUND, bound)


def _workload(claim: Claim) -> str | None:
    return claim.workload.local if claim.workload is not None else None
