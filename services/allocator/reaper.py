"""Ends leases that were kept for as long as they are kept: bounded batches, at a capped rate.

Only the store's clock counts, and nothing ends while that clock cannot be believed.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.addresses import AddressState
from shared.clock import Clock
from shared.errors import BerthError
from shared.telemetry.metrics import ALLOCATOR_REAPER_STOPPED, ALLOCATOR_STEPS_TOTAL

from .domain.clocks import ClockGuard, Reading
from .domain.leases import ExpireStatus, Lease
from .domain.ports import LeaseStore
from .durable_steps import DurableSteps

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaperLimits:
    batch_max: int
    retry: timedelta


class Reaper:
    """One replica's; several may run, since who takes a lease has it for a while."""

    def __init__(
        self, leases: LeaseStore, steps: DurableSteps, clock: Clock, limits: ReaperLimits
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._clock = clock
        self._limits = limits
        self._guard = ClockGuard()
        self._doubt: str | None = None

    async def round(self) -> None:
        """Look once."""
        by = await self._leases.now()
        if self._is_stopped(by):
            return
        due = await self._steps.watched(
            self._leases.take_due(by, limit=self._limits.batch_max, retry=self._limits.retry)
        )
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
            if lease.state is not AddressState.EXPIRED:
                await self._expire(lease, by)
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
        self._steps.tell("expired", step.lease)
        return step.lease
