"""Leases in memory: LeaseStore and EpochStore by the same rules as the scripts, said in Python.

It is the model that the real store is compared with, so it knows nothing of Redis: a dictionary
of leases, a server whose identity changes when it restarts, and the fence of each node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from services.allocator.domain.leases import (
    AcquireStatus,
    ArriveStatus,
    Claim,
    ExpireStatus,
    FencedBy,
    ForgetStatus,
    GiveUpStatus,
    Lease,
    PolicyStatus,
    RetainStatus,
    Status,
    Step,
    unheard,
)
from services.allocator.domain.ports import ReportedView, StoreEpoch
from shared.addresses import AddressState
from shared.errors import BerthError, EpochLost
from shared.ids import (
    GENERATION_BITS,
    EniId,
    Generation,
    Identity,
    Incarnation,
    NodeName,
    generation,
)


@dataclass(slots=True)
class Mark:
    """What is known of one node's agent."""

    incarnation: Incarnation
    nonce: str
    low: int = 1
    last_report: int = 0


@dataclass(slots=True)
class Books:
    """Everything a server keeps, and loses when it is emptied."""

    number: int = 0
    opened_on: int = 0
    counter: int = 0
    claim: int = 0
    fixed: dict[Identity, Lease] = field(default_factory=dict)
    unjournaled: dict[Identity, Generation] = field(default_factory=dict)
    put_off: dict[Identity, datetime] = field(default_factory=dict)  # what the reaper took
    marks: dict[NodeName, Mark] = field(default_factory=dict)
    reported: dict[NodeName, dict[IPv4Address, ReportedView]] = field(default_factory=dict)


class MemoryLeases:
    """One process' view of a store in memory."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._books = Books()
        self._server = 1
        self._number: int | None = None

    def restart(self) -> None:
        """Another life of the server, with its data."""
        self._server += 1

    def copy(self) -> Books:
        """What a snapshot of the server holds."""
        return deepcopy(self._books)

    def go_back(self, books: Books) -> None:
        """Another server, started from an older snapshot."""
        self._books = books
        self._server += 1

    def empty(self) -> None:
        """The data is gone, the server is the same."""
        self._books = Books()

    async def register(self, node: NodeName, *, last: Incarnation, nonce: str) -> Incarnation:
        self._check_epoch()
        known = self._books.marks.get(node)
        if known is not None and known.nonce == nonce:
            return known.incarnation
        before = max(known.incarnation if known is not None else 0, last)
        self._books.marks[node] = Mark(incarnation=Incarnation(before + 1), nonce=nonce)
        return self._books.marks[node].incarnation

    async def acquire(self, claim: Claim) -> Step[AcquireStatus]:
        self._check(claim.fence)
        node = claim.fence.node
        lease = self._books.fixed.get(claim.identity)
        if lease is None:
            return self._first(claim)
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
                moving = replace(lease, state=AddressState.MOVING, moving_to=node)
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
        return self._keep(ArriveStatus.ARRIVED, there)

    async def retain(
        self, fence: FencedBy, identity: Identity, attachment: str, generation: Generation
    ) -> Step[RetainStatus]:
        self._check(fence)
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=RetainStatus.UNKNOWN, lease=None, is_journaled=True)
        is_its_own = lease.attachment == attachment
        if lease.state is AddressState.RETAINED and is_its_own:
            return self._as_is(RetainStatus.RETAINED, lease)
        is_holder = lease.state is AddressState.BOUND_FIXED and is_its_own
        if not is_holder or lease.release_generation != generation:
            return self._as_is(RetainStatus.SUPERSEDED, lease)
        ended = replace(lease, state=AddressState.RETAINED, bound_generation=None)
        return self._keep(RetainStatus.RETAINED, ended)

    async def now(self) -> datetime:
        return self._now()

    async def take_due(self, by: datetime, *, limit: int, retry: timedelta) -> list[Lease]:
        self._check_epoch()
        moments = {
            identity: self._books.put_off.get(identity, due)
            for identity, lease in self._books.fixed.items()
            if (due := _due(lease)) is not None
        }
        taken = sorted(
            (each for each in moments if moments[each] <= by), key=moments.__getitem__
        )
        self._books.put_off |= dict.fromkeys(taken[:limit], by + retry)
        return [self._books.fixed[identity] for identity in taken[:limit]]

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

    async def give_up(
        self, identity: Identity, generation: Generation, *, force: bool
    ) -> Step[GiveUpStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=GiveUpStatus.UNKNOWN, lease=None, is_journaled=True)
        if lease.state is AddressState.EXPIRED:
            return self._as_is(GiveUpStatus.EXPIRED, lease)
        if lease.generation != generation:
            return self._as_is(GiveUpStatus.SUPERSEDED, lease)
        if lease.state is AddressState.MOVING:
            return self._as_is(GiveUpStatus.MOVING, lease)
        if lease.state is AddressState.BOUND_FIXED and not force:
            return self._as_is(GiveUpStatus.IN_USE, lease)
        ended = replace(lease, state=AddressState.EXPIRED, bound_generation=None)
        return self._keep(GiveUpStatus.EXPIRED, ended)

    async def set_policy(
        self, identity: Identity, expires_after: timedelta | None
    ) -> Step[PolicyStatus]:
        self._check_epoch()
        lease = self._books.fixed.get(identity)
        if lease is None:
            return Step(status=PolicyStatus.UNKNOWN, lease=None, is_journaled=True)
        if lease.state is AddressState.MOVING:
            return self._as_is(PolicyStatus.MOVING, lease)
        if lease.state is AddressState.EXPIRED:
            return self._as_is(PolicyStatus.EXPIRED, lease)
        if lease.is_expiry_set and lease.expires_after == expires_after:
            return self._as_is(PolicyStatus.SET, lease)
        is_bound = lease.state is AddressState.BOUND_FIXED
        changed = replace(
            lease,
            expires_after=expires_after,
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

    async def report(
        self,
        fence: FencedBy,
        views: Sequence[ReportedView],
        gone: Sequence[IPv4Address],
        *,
        is_whole: bool,
    ) -> None:
        mark = self._check(fence)
        if fence.sequence < mark.last_report:
            raise _refusal("stale", fence)
        mark.last_report = fence.sequence
        known = {} if is_whole else self._books.reported.setdefault(fence.node, {})
        known |= {view.address: view for view in views}
        for address in gone:
            known.pop(address, None)
        self._books.reported[fence.node] = known

    async def journaled(self, identity: Identity, generation: Generation) -> None:
        if self._books.unjournaled.get(identity) == generation:
            del self._books.unjournaled[identity]

    async def unjournaled(self, limit: int) -> list[Lease]:
        marked = [each for each in self._books.unjournaled if each in self._books.fixed]
        return [self._books.fixed[identity] for identity in marked[:limit]]

    async def find(self, identity: Identity) -> Lease | None:
        return self._books.fixed.get(identity)

    async def leases(self, cursor: int, limit: int) -> tuple[int, list[Lease]]:
        page = list(self._books.fixed.values())[cursor : cursor + limit]
        following = cursor + limit
        return (following if following < len(self._books.fixed) else 0), page

    async def nodes(self) -> list[NodeName]:
        return sorted(self._books.marks)

    async def reported(self, node: NodeName) -> list[ReportedView]:
        return list(self._books.reported.get(node, {}).values())

    def use_epoch(self, number: int | None) -> None:
        self._number = number

    async def epoch(self) -> StoreEpoch:
        books = self._books
        return StoreEpoch(
            number=books.number,
            is_same_server=books.opened_on == self._server,
            highest=Generation((books.number << GENERATION_BITS) + books.counter),
        )

    async def claim(self, number: int, *, empty: bool) -> bool:
        if self._books.claim > number:
            return False
        if empty:
            reported = self._books.reported
            self._books = Books(counter=self._books.counter, reported=reported)
        self._books.claim = number
        return True

    async def restore(self, number: int, leases: Sequence[Lease]) -> bool:
        if self._books.claim != number:
            return False
        self._books.fixed |= {lease.identity: lease for lease in leases}
        return True

    async def open(self, number: int) -> bool:
        if self._books.claim != number:
            return False
        self._books.number, self._books.opened_on = number, self._server
        self._books.counter = 0
        return True

    def _first(self, claim: Claim) -> Step[AcquireStatus]:
        candidate = claim.candidate
        if candidate is None:
            return Step(status=AcquireStatus.NO_CANDIDATE, lease=None, is_journaled=True)
        if any(lease.address == candidate.address for lease in self._books.fixed.values()):
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
        )
        return self._keep(AcquireStatus.BOUND, lease)

    def _bind(self, lease: Lease, claim: Claim) -> Step[AcquireStatus]:
        bound = replace(
            lease,
            state=AddressState.BOUND_FIXED,
            pod_uid=claim.pod_uid,
            attachment=str(claim.attachment),
            expires_after=lease.expires_after if lease.is_expiry_set else claim.expires_after,
            bound_generation=None,
        )
        return self._keep(AcquireStatus.BOUND, bound)

    def _keep(
        self, status: Status, lease: Lease, *, since: datetime | None = None
    ) -> Step[Status]:
        # Every step: a new generation, and a mark that it is not in the journal yet.
        books = self._books
        books.counter += 1
        kept = replace(
            lease,
            generation=generation(books.number, books.counter),
            since=since or self._now(),
        )
        books.fixed[lease.identity] = kept
        books.unjournaled[lease.identity] = kept.generation
        books.put_off.pop(lease.identity, None)
        return Step(status=status, lease=kept, is_journaled=False)

    def _as_is(self, status: Status, lease: Lease) -> Step[Status]:
        is_journaled = lease.identity not in self._books.unjournaled
        return Step(status=status, lease=lease, is_journaled=is_journaled)

    def _check_epoch(self) -> None:
        books = self._books
        is_open = books.number == self._number and books.opened_on == self._server
        if self._number is None or not is_open:
            raise EpochLost(f"epoch {self._number} is not open here")

    def _check(self, fence: FencedBy) -> Mark:
        self._check_epoch()
        mark = self._books.marks.get(fence.node)
        if mark is None or fence.incarnation > mark.incarnation:
            raise _refusal("unregistered", fence)
        if fence.incarnation < mark.incarnation or fence.sequence < mark.low:
            raise _refusal("stale", fence)
        mark.low = max(mark.low, fence.lowest_unsettled)
        return mark


def _due(lease: Lease) -> datetime | None:
    return lease.since if lease.state is AddressState.EXPIRED else lease.expires_at


def _refusal(status: str, fence: FencedBy) -> BerthError:
    error = unheard(status, fence)
    assert error is not None, f"{status} is a reason not to be heard"
    return error
