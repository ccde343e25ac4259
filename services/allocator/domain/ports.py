"""What the allocator needs of the world: a store of leases, a journal, somebody who moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Final, Protocol

from shared.ids import (
    EniId,
    Generation,
    Identity,
    Incarnation,
    NodeName,
    PodName,
    PodUid,
    WorkloadName,
)
from shared.policies import LeasePolicy

from .leases import (
    AcquireStatus,
    ArriveStatus,
    Claim,
    ExpireStatus,
    FencedBy,
    ForgetStatus,
    GiveUpStatus,
    Lease,
    ParkStatus,
    PolicyStatus,
    PutBackStatus,
    RetainStatus,
    Step,
    TakeOverStatus,
    VacateStatus,
)
from .retention import Presence, WorkloadSight

NO_GENERATION: Final = Generation(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedView:
    """One `Immediate` address as its agent tells of it; `body` is the agent's own words."""

    address: IPv4Address
    body: str  # JSON of shared.messages.leases.ReportedAddress


class LeaseStore(Protocol):
    """Both adapters (Redis, in memory) pass tests/contract/test_lease_store.py.

    Every step raises EpochLost when the store is not the one its epoch was opened on, Stale for
    a request of an older life of its agent, and Unavailable when the store did not answer, in
    which case the step may or may not be done.
    """

    async def register(
        self, node: NodeName, *, last: Incarnation, nonce: str
    ) -> Incarnation: ...

    async def acquire(self, claim: Claim) -> Step[AcquireStatus]: ...

    async def arrive(
        self, identity: Identity, generation: Generation, node: NodeName, eni: EniId
    ) -> Step[ArriveStatus]:
        """The end of a move, or its way back; parked, if that node is gone for ever."""
        ...

    async def parked(self, identity: Identity, generation: Generation) -> Step[ArriveStatus]:
        """The end of a move to nowhere, or of one that was called off on its way."""
        ...

    async def retain(
        self,
        fence: FencedBy,
        identity: Identity,
        attachment: str,
        generation: Generation,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[RetainStatus]:
        """`policy` is the cluster's now; a person's for this lease beats it."""
        ...

    async def take_over(
        self, identity: Identity, generation: Generation, claim: Claim
    ) -> Step[TakeOverStatus]:
        """The holder, on another node, has ended without a word: it moves to the claim's."""
        ...

    async def leave(self, node: NodeName) -> None:
        """The node is gone for ever: its agent's life is over, its reports are forgotten."""
        ...

    async def vacate(
        self,
        identity: Identity,
        generation: Generation,
        node: NodeName,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[VacateStatus]:
        """A lease of that node has no place any more. `policy` as for `retain`."""
        ...

    async def now(self) -> datetime:
        """The store's clock, the only one that leases are measured by."""
        ...

    async def take_due(
        self, by: datetime, *, limit: int, retry: timedelta, look: timedelta
    ) -> list[Lease]:
        """Leases that are due to expire, expired ones that are to be handed over, and those
        that end with their workload.

        Who took one has until `by` + `retry`; after that it is due again. One that is not yet
        due by its span is looked at again after `look`.
        """
        ...

    async def take_begun(
        self, by: datetime, *, limit: int, retry: timedelta, rank: int
    ) -> tuple[list[Lease], int]:
        """Of what is due, what no clock decides of any more: expired leases that are to be
        handed over, and those on their way to nowhere. Others are left as they are.

        `limit` are looked at from that rank on; with the rank to go on from.
        """
        ...

    async def expire(self, identity: Identity, by: datetime) -> Step[ExpireStatus]:
        """`by` is a moment that the store's clock has reached."""
        ...

    async def park(self, identity: Identity, until: datetime) -> Step[ParkStatus]:
        """Have the ENI of a lease leave its node, if its pod went before `until`."""
        ...

    async def give_up(
        self,
        identity: Identity,
        generation: Generation,
        *,
        force: bool,
        is_called_off: bool = False,
    ) -> Step[GiveUpStatus]:
        """End a lease before its time; by force, one that a pod holds. `is_called_off`: its
        first move was refused for good, and it was nowhere before."""
        ...

    async def set_policy(
        self,
        identity: Identity,
        expires_after: timedelta | None,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[PolicyStatus]:
        """What ends it once its pod went, whatever pod and cluster say; None: no span does."""
        ...

    async def forget(self, identity: Identity, generation: Generation) -> ForgetStatus:
        """After its tombstone is journaled: a rebuild must not bring it back."""
        ...

    async def report(
        self,
        fence: FencedBy,
        views: Sequence[ReportedView],
        gone: Sequence[IPv4Address],
        candidates: Sequence[IPv4Address] = (),
        *,
        is_whole: bool,
    ) -> list[IPv4Address]:
        """Those of `candidates` that are leases'. Where their questions are below the fence's
        mark, that is for good: none of the others can become one any more."""
        ...

    async def journaled(self, steps: Sequence[Lease]) -> None:
        """Take the marks of journaled steps off; a newer step's mark stays."""
        ...

    async def unjournaled(self, limit: int) -> list[Lease]: ...

    async def find(self, identity: Identity) -> Lease | None: ...

    async def found_of(self, identities: Sequence[Identity]) -> list[Lease | None]:
        """Of each in turn."""
        ...

    async def count(self) -> int: ...

    async def put_back(
        self, lease: Lease, *, replace: bool, is_trial: bool
    ) -> Step[PutBackStatus]:
        """A lease of a backup; on trial, only what would become of it."""
        ...

    async def leases(self, cursor: int, limit: int) -> tuple[int, list[Lease]]:
        """A page and the next cursor; 0 begins and ends."""
        ...

    async def nodes(self) -> list[NodeName]: ...

    async def knows(self, node: NodeName) -> bool:
        """Whether its agent has registered since these books were begun."""
        ...

    async def reported(self, node: NodeName) -> list[ReportedView]: ...


class Workloads(Protocol):
    """What the cluster says of pods and of what makes them. Never raises: that is "unknown"."""

    async def named(self, pods: Collection[PodName]) -> Mapping[PodName, Presence]:
        """Whether a pod of that name is there, of whatever uid."""
        ...

    async def objects(self, pod: PodName, uid: PodUid) -> Presence:
        """Whether the Pod object of this very uid is there; absent only when that is proven."""
        ...

    async def workloads(
        self, names: Collection[WorkloadName]
    ) -> Mapping[WorkloadName, WorkloadSight]: ...


class Instances(Protocol):
    """What the cloud says of the machines that nodes are."""

    async def has_ended(self, node: NodeName) -> str | None:
        """Why nothing on it can use an address any more; None: it may run, or is not known."""
        ...


class StepGate(Protocol):
    """Asked before each step of the store."""

    def check(self, *, grows: bool) -> None:
        """Raise the reason why no step, or none that makes books larger, is taken now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreEpoch:
    """What the store says of its epoch."""

    number: int  # 0: none was opened
    is_same_server: bool  # the run id is still the one it was opened on
    highest: Generation


class EpochStore(Protocol):
    """The recovery's side of the store; every step carries the claim."""

    async def epoch(self) -> StoreEpoch: ...

    async def claim(self, number: int, *, empty: bool) -> bool: ...

    async def restore(self, number: int, leases: Sequence[Lease]) -> bool: ...

    async def open(self, number: int) -> bool: ...

    def use_epoch(self, number: int | None) -> None:
        """The epoch that steps carry from now on; None: every step answers EpochLost."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEpoch:
    """The journal's epoch record. `revision` is what writes are fenced by."""

    number: int
    is_open: bool
    opened_at: datetime
    revision: int
    is_rewrite: bool = False  # being written anew from the store: not whole until it is open
    highest: Generation = NO_GENERATION  # of what was journaled up to `counted_to`
    counted_to: int = 0


class Journal(Protocol):
    """The last value of every fixed lease, and the epoch, in JetStream."""

    async def ensure_stream(self) -> None:
        """Have a place to write to, also after somebody took it away."""
        ...

    async def write(self, leases: Sequence[Lease]) -> None:
        """Durable when it returns. Raises EpochLost for a writer of an older epoch, and for
        steps of one: the store that has opened since may know nothing of them."""
        ...

    async def settle(self, leases: Sequence[Lease]) -> None:
        """As `write`, for what the store of the writer's own claim holds: of whatever epoch."""
        ...

    async def bury(self, lease: Lease) -> None:
        """Leave a tombstone in the place of an expired lease: durable when it returns."""
        ...

    async def fold_left_behind(self) -> None:
        """Finish what a replica wrote down in haste and did not live to bring to its place."""
        ...

    async def epoch(self) -> JournalEpoch | None: ...

    async def put_epoch(
        self,
        number: int,
        *,
        is_open: bool,
        at: datetime,
        after: JournalEpoch | None,
        is_rewrite: bool = False,
        highest: Generation | None = None,
    ) -> JournalEpoch | None:
        """Compare-and-set on the record read before; None when somebody else was first.

        `highest`: of all that was journaled before `after`, when it was counted.
        """
        ...

    async def highest(self) -> Generation: ...

    def leases(self) -> AsyncIterator[Lease]: ...

    def use_epoch(self, epoch: JournalEpoch | None) -> None: ...
