"""Takes off a node what holds room there for pods that are away: ENIs, and addresses.

An ENI that is wholly a lease's goes some time after its pod, by itself; an address that shares
its ENI only when the node is full and others wait (pressure.py). The step to nowhere is
journaled before the cloud is asked, and the lease is parked only once the eni_manager has
answered; each part is safe to repeat, and the reaper looks again until it is done. What the
cloud refuses for good is called off: the lease is retained where it was.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from shared.addresses import AddressState
from shared.clock import Clock
from shared.errors import CloudRefused
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import NOWHERE, ArriveStatus, Lease, ParkStatus
from .domain.ports import LeaseStore
from .durable_steps import DurableSteps


class EniParker(Protocol):
    """Who detaches ENIs, and has addresses kept."""

    async def park(self, lease: Lease, deadline: datetime) -> None:
        """Its ENI, or its address, is on no node when it returns; safe to repeat."""
        ...


class Parker:
    """`after` is how long the ENI waits where it is: a pod often comes back at once."""

    def __init__(
        self,
        leases: LeaseStore,
        steps: DurableSteps,
        enis: EniParker,
        clock: Clock,
        *,
        after: timedelta,
        timeout: timedelta,
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._enis = enis
        self._clock = clock
        self._after = after
        self._timeout = timeout

    async def look(self, lease: Lease, by: datetime) -> None:
        """Park a lease that the reaper took, if that is what it is due for."""
        is_left = lease.is_exclusive and lease.state is AddressState.RETAINED
        if not is_left and lease.moving_to != NOWHERE:
            return
        step = await self._steps.watched(self._leases.park(lease.identity, by - self._after))
        if step.status is not ParkStatus.PARKING or step.lease is None:
            return
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
        try:
            await self._enis.park(step.lease, self._clock.now() + self._timeout)
        except CloudRefused:
            if not step.lease.is_exclusive:
                await self._call_off(step.lease)
            raise
        end = await self._steps.watched(
            self._leases.parked(step.lease.identity, step.lease.generation)
        )
        ALLOCATOR_STEPS_TOTAL.labels("park", end.status).inc()
        if end.status is ArriveStatus.ARRIVED and end.lease is not None:
            await self._steps.make_durable(end.lease)
            self._steps.tell("parked", end.lease)

    async def _call_off(self, lease: Lease) -> None:
        assert lease.node is not None, "a lease that was retained is on a node"
        assert lease.eni is not None, "a lease that is on a node names its ENI"
        step = await self._steps.watched(
            self._leases.arrive(lease.identity, lease.generation, lease.node, lease.eni)
        )
        ALLOCATOR_STEPS_TOTAL.labels("call_off", step.status).inc()
        if step.status is ArriveStatus.ARRIVED and step.lease is not None:
            await self._steps.make_durable(step.lease)
