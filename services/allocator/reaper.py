"""Ends leases that were kept for as long as they are kept: bounded batches, at a capped rate.

Only the store's clock counts, and nothing ends while that clock cannot be believed; what has
ended already is handed over even then. An expired lease is handed over in this order, and each
part is safe to repeat after a crash: its step is journaled; the eni_manager has written the
address down as its own; the journal holds a tombstone, so that no rebuild brings the lease
back; the store forgets it. Only then does the eni_manager find no lease on the address, and
offers it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from shared.addresses import AddressState
from shared.clock import Clock
from shared.errors import BerthError, EpochLost
from shared.telemetry.metrics import (
    ALLOCATOR_REAPER_LOOKS_TOTAL,
    ALLOCATOR_REAPER_STOPPED,
    ALLOCATOR_STEPS_TOTAL,
)

from .domain.clocks import ClockGuard, Reading
from .domain.leases import ExpireStatus, ForgetStatus, GiveUpStatus, Lease
from .domain.ports import Journal, LeaseStore, Workloads
from .domain.retention import Sights, Verdict, judge, questions_of
from .durable_steps import DurableSteps
from .parker import Parker

log = logging.getLogger(__name__)

_WAITS = (AddressState.RETAINED, AddressState.PARKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaperLimits:
    batch_max: int
    retry: timedelta
    look: timedelta
    reclaim_timeout: timedelta


class Reclaimer(Protocol):
    """Who owns the addresses of expired leases."""

    async def reclaim(self, lease: Lease, deadline: datetime) -> None:
        """The address is the eni_manager's when it returns; safe to repeat."""
        ...


class Reaper:
    """One replica's; several may run, since who takes a lease has it for a while."""

    def __init__(
        self,
        leases: LeaseStore,
        journal: Journal,
        steps: DurableSteps,
        reclaimer: Reclaimer,
        parker: Parker,
        workloads: Workloads,
        clock: Clock,
        limits: ReaperLimits,
    ) -> None:
        self._leases = leases
        self._journal = journal
        self._steps = steps
        self._reclaimer = reclaimer
        self._parker = parker
        self._workloads = workloads
        self._clock = clock
        self._limits = limits
        self._guard = ClockGuard()
        self._doubt: str | None = None
        self._rank = 0  # from where on what has begun is looked for, while clocks are in doubt

    async def round(self) -> None:
        """Look once."""
        by = await self._leases.now()
        try:
            due = await (self._begun(by) if self._is_stopped(by) else self._due(by))
        except EpochLost:  # reported: it is recovered, and a later look finds what is due
            return
        sights = await self._see(due, by)
        async with asyncio.TaskGroup() as group:
            for lease in due:
                group.create_task(self._end(lease, by, sights), name=f"reap {lease.identity}")

    async def _due(self, by: datetime) -> list[Lease]:
        return await self._steps.watched(
            self._leases.take_due(
                by,
                limit=self._limits.batch_max,
                retry=self._limits.retry,
                look=self._limits.look,
            )
        )

    async def _begun(self, by: datetime) -> list[Lease]:
        """What is due whatever the clocks say: its pod may wait for it."""
        begun, self._rank = await self._steps.watched(
            self._leases.take_begun(
                by, limit=self._limits.batch_max, retry=self._limits.retry, rank=self._rank
            )
        )
        return begun

    async def _see(self, due: list[Lease], by: datetime) -> Sights:
        """One question of each kind for the whole batch."""
        waiting = [lease for lease in due if lease.state in _WAITS]
        pods, workloads = questions_of(waiting, by)
        return Sights(
            pods=await self._workloads.named(pods),
            workloads=await self._workloads.workloads(workloads),
        )

    def _is_stopped(self, store_now: datetime) -> bool:
        doubt = self._guard.doubt(
            Reading(
                store=store_now,
                own=self._clock.now(),
                monotonic_s=self._clock.monotonic_s(),
            )
        )
        ALLOCATOR_REAPER_STOPPED.set(0 if doubt is None else 1)
        if doubt is not None and self._doubt is None:
            log.warning("no lease expires", extra={"reason": doubt})
        elif doubt is None and self._doubt is not None:
            log.info("leases expire again")
        self._doubt = doubt
        return doubt is not None

    async def _end(self, lease: Lease, by: datetime, sights: Sights) -> None:
        try:
            expired = await self._judged(lease, by, sights)
            if expired is not None:
                await self._hand_over(expired)
            else:
                await self._parker.look(lease, by)
        except BerthError as error:
            # It is due again after the retry: another round, or another replica, goes on.
            log.info(
                "a lease is not ended yet",
                extra={"lease": str(lease.identity), "error": str(error)},
            )

    async def _judged(self, lease: Lease, by: datetime, sights: Sights) -> Lease | None:
        """The expired lease, which is to be handed over; None: it is kept."""
        if lease.state is AddressState.EXPIRED:
            return await self._expire(lease, by, reason=None)
        if lease.state not in _WAITS:
            return None
        judgement = judge(lease, by, sights)
        ALLOCATOR_REAPER_LOOKS_TOTAL.labels(judgement.verdict).inc()
        match judgement.verdict:
            case Verdict.EXPIRE:
                return await self._expire(lease, by, reason=judgement.reason)
            case Verdict.END:
                return await self._give_up(lease, judgement.reason)
            case Verdict.UNKNOWN:
                log.warning(
                    "a lease waits: what ends it is not known",
                    extra={"lease": str(lease.identity), "reason": judgement.reason},
                )
        return None

    async def _expire(self, lease: Lease, by: datetime, reason: str | None) -> Lease | None:
        step = await self._steps.watched(self._leases.expire(lease.identity, by))
        ALLOCATOR_STEPS_TOTAL.labels("expire", step.status).inc()
        if step.status is not ExpireStatus.EXPIRED or step.lease is None:
            return None
        return await self._ended(step.lease, step.is_journaled, reason)

    async def _give_up(self, lease: Lease, reason: str) -> Lease | None:
        """Only as it was seen: a pod that came back meanwhile keeps it."""
        step = await self._steps.watched(
            self._leases.give_up(lease.identity, lease.generation, force=False)
        )
        ALLOCATOR_STEPS_TOTAL.labels("end", step.status).inc()
        if step.status is not GiveUpStatus.EXPIRED or step.lease is None:
            return None
        return await self._ended(step.lease, step.is_journaled, reason)

    async def _ended(self, lease: Lease, is_journaled: bool, reason: str | None) -> Lease:
        if not is_journaled:
            await self._steps.make_durable(lease)
        if reason is not None:
            self._steps.tell("expired", lease, reason=reason)
        return lease

    async def _hand_over(self, lease: Lease) -> None:
        await self._reclaimer.reclaim(lease, self._clock.now() + self._limits.reclaim_timeout)
        await self._steps.watched(self._journal.bury(lease))
        status = await self._steps.watched(
            self._leases.forget(lease.identity, lease.generation)
        )
        ALLOCATOR_STEPS_TOTAL.labels("forget", status).inc()
        if status is ForgetStatus.FORGOTTEN:
            self._steps.tell("released", lease)
