"""Ends leases that were kept for as long as they are kept: bounded batches, at a capped rate.

Only the store's clock counts, and nothing ends while that clock cannot be believed. An expired
lease is handed over in this order, and each part is safe to repeat after a crash: its step is
journaled; the eni_manager has written the address down as its own; the journal holds a
tombstone, so that no rebuild brings the lease back; the store forgets it. Only then does the
eni_manager find no lease on the address, and offers it.
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
from shared.telemetry.metrics import ALLOCATOR_REAPER_STOPPED, ALLOCATOR_STEPS_TOTAL

from .domain.clocks import ClockGuard, Reading
from .domain.leases import ExpireStatus, ForgetStatus, Lease
from .domain.ports import Journal, LeaseStore
from .durable_steps import DurableSteps
from .parker import Parker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaperLimits:
    batch_max: int
    retry: timedelta
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
        clock: Clock,
        limits: ReaperLimits,
    ) -> None:
        self._leases = leases
        self._journal = journal
        self._steps = steps
        self._reclaimer = reclaimer
        self._parker = parker
        self._clock = clock
        self._limits = limits
        self._guard = ClockGuard()
        self._doubt: str | None = None

    async def round(self) -> None:
        """Look once."""
        by = await self._leases.now()
        if self._is_stopped(by):
            return
        try:
            due = await self._steps.watched(
                self._leases.take_due(
                    by, limit=self._limits.batch_max, retry=self._limits.retry
                )
            )
        except EpochLost:  # reported: it is recovered, and a later look finds what is due
            return
        async with asyncio.TaskGroup() as group:
            for lease in due:
                group.create_task(self._end(lease, by), name=f"reap {lease.identity}")

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

    async def _end(self, lease: Lease, by: datetime) -> None:
        try:
            expired = await self._expire(lease, by)
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

    async def _expire(self, lease: Lease, by: datetime) -> Lease | None:
        step = await self._steps.watched(self._leases.expire(lease.identity, by))
        ALLOCATOR_STEPS_TOTAL.labels("expire", step.status).inc()
        if step.status is not ExpireStatus.EXPIRED or step.lease is None:
            return None
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
        if lease.state is not AddressState.EXPIRED:
            self._steps.tell("expired", step.lease)
        return step.lease

    async def _hand_over(self, lease: Lease) -> None:
        await self._reclaimer.reclaim(lease, self._clock.now() + self._limits.reclaim_timeout)
        await self._steps.watched(self._journal.bury(lease))
        status = await self._steps.watched(
            self._leases.forget(lease.identity, lease.generation)
        )
        ALLOCATOR_STEPS_TOTAL.labels("forget", status).inc()
        if status is ForgetStatus.FORGOTTEN:
            self._steps.tell("released", lease)
