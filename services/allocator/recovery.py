"""Backup, restore and recovery, as a person asks for them.

A backup is read page by page beside the work. What is restored is journaled before it is
answered, as any step. A comparison reads both books and changes neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from typing import Final

from shared.ids import Identity
from shared.messages.base import IdentityFields
from shared.messages.recovery import (
    DIFFERENCES_MAX,
    BackedUpLease,
    Difference,
    LeaseBackupRequest,
    LeaseRestoreRequest,
    LeasesBackedUp,
    LeasesRestored,
    RecoverRequest,
    RecoveryStatus,
    RecoveryStatusRequest,
    RecoveryTrialRequest,
    RecoveryTried,
    RestoreRefusal,
)
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import Lease, PutBackStatus, Step
from .domain.ports import EpochStore, Journal, LeaseStore
from .durable_steps import DurableSteps
from .epochs import EpochKeeper

_COMPARED_AT_ONCE: Final = 512

_REASONS: Final = {
    PutBackStatus.LIVE: "has {address} now, {state} on node {node}; --replace gives it up",
    PutBackStatus.MOVING: "has {address}, which is moving to node {to} now",
    PutBackStatus.ADDRESS_TAKEN: "{address} is another identity's lease now",
}


class RecoveryOperations:
    """For the worst days."""

    def __init__(
        self,
        leases: LeaseStore,
        store: EpochStore,
        journal: Journal,
        steps: DurableSteps,
        epochs: EpochKeeper,
    ) -> None:
        self._leases = leases
        self._store = store
        self._journal = journal
        self._steps = steps
        self._epochs = epochs

    async def backup(self, request: LeaseBackupRequest) -> LeasesBackedUp:
        cursor, leases = await self._leases.leases(request.cursor, request.limit)
        return LeasesBackedUp(
            leases=[_backed_up(each) for each in leases],
            next_cursor=cursor,
        )

    async def restore(self, request: LeaseRestoreRequest) -> LeasesRestored:
        """Each lease by itself; those before one that fails are restored, and counted again."""
        counts = dict.fromkeys(PutBackStatus, 0)
        refused: list[RestoreRefusal] = []
        durable: list[Lease] = []
        wanted = [_lease_of(each) for each in request.leases]
        steps = await asyncio.gather(*(self._put_back(each, request) for each in wanted))
        for lease, step in zip(wanted, steps, strict=True):
            counts[step.status] += 1
            if step.status in _REASONS:
                refused.append(_refusal(step.status, lease, step.lease))
            elif step.lease is not None and not step.is_journaled:
                durable.append(step.lease)
        await self._steps.make_all_durable(durable)
        for lease in durable:
            ALLOCATOR_STEPS_TOTAL.labels("put_back", PutBackStatus.RESTORED).inc()
            self._steps.tell("restored", lease, reason=f"from a backup, by {request.by}")
        return LeasesRestored(
            restored=counts[PutBackStatus.RESTORED],
            same=counts[PutBackStatus.SAME],
            refused=refused,
        )

    async def _put_back(
        self, lease: Lease, request: LeaseRestoreRequest
    ) -> Step[PutBackStatus]:
        return await self._steps.watched(
            self._leases.put_back(lease, replace=request.replace, is_trial=request.is_trial)
        )

    async def try_recovery(self, _: RecoveryTrialRequest) -> RecoveryTried:
        """The journal beside the store, then what only the store has."""
        known: set[Identity] = set()
        found = _Differences()
        async for chunk in self._journaled():
            stored = await self._leases.found_of([lease.identity for lease in chunk])
            for journaled, lease in zip(chunk, stored, strict=True):
                known.add(journaled.identity)
                found.compare(lease, journaled)
        cursor = 0
        while True:
            cursor, page = await self._leases.leases(cursor, _COMPARED_AT_ONCE)
            for lease in page:
                if lease.identity not in known:
                    known.add(lease.identity)  # a page may hold a lease again
                    found.compare(lease, None)
            if cursor == 0:
                break
        return RecoveryTried(
            leases_in_store=found.in_store,
            leases_in_journal=found.in_journal,
            differing=found.differing,
            differences=found.named,
        )

    async def recover(self, request: RecoverRequest) -> RecoveryStatus:
        """Begun when this is answered; the status tells its end."""
        before = await self.status()
        self._epochs.rebuild(request.source)
        return before

    async def status(self, _: RecoveryStatusRequest | None = None) -> RecoveryStatus:
        record = await self._journal.epoch()
        store = await self._store.epoch()
        is_open = record is not None and record.is_open and record.number == store.number
        return RecoveryStatus(
            epoch=record.number if record is not None else store.number,
            is_open=is_open and store.is_same_server,
            leases_in_store=await self._leases.count(),
        )

    async def _journaled(self) -> AsyncIterator[Sequence[Lease]]:
        chunk: list[Lease] = []
        async for lease in self._journal.leases():
            chunk.append(lease)
            if len(chunk) == _COMPARED_AT_ONCE:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


class _Differences:
    """Counted, and the first of them named."""

    def __init__(self) -> None:
        self.in_store = self.in_journal = self.differing = 0
        self.named: list[Difference] = []

    def compare(self, stored: Lease | None, journaled: Lease | None) -> None:
        self.in_store += stored is not None
        self.in_journal += journaled is not None
        if stored and journaled and stored.generation == journaled.generation:
            return
        self.differing += 1
        either = stored or journaled
        assert either is not None, "nothing is compared with nothing"
        if len(self.named) < DIFFERENCES_MAX:
            self.named.append(
                Difference(
                    identity=IdentityFields.of(either.identity),
                    store=_told(stored),
                    journal=_told(journaled),
                )
            )


def _told(lease: Lease | None) -> str | None:
    if lease is None:
        return None
    return f"{lease.address} {lease.state} on {lease.node}, generation {lease.generation}"


def _refusal(status: PutBackStatus, wanted: Lease, known: Lease | None) -> RestoreRefusal:
    lease = known or wanted
    reason = _REASONS[status].format(
        address=lease.address, state=lease.state, node=lease.node, to=lease.moving_to
    )
    return RestoreRefusal(identity=IdentityFields.of(wanted.identity), reason=reason)


def _backed_up(lease: Lease) -> BackedUpLease:
    """Its fields are a lease's, by name."""
    values = {field.name: getattr(lease, field.name) for field in fields(lease)}
    return BackedUpLease.model_validate(
        values | {"identity": IdentityFields.of(lease.identity)}
    )


def _lease_of(backed_up: BackedUpLease) -> Lease:
    values = {name: getattr(backed_up, name) for name in type(backed_up).model_fields}
    return Lease(**values | {"identity": backed_up.identity.to_identity()})
