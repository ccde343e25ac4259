"""A full subnet, or a full node, with pods that wait: the lease retained longest makes way.

In a full subnet it ends, and only where the subnet's record says so, for only there may a fixed
address be lost before its time. On a full node it is held elsewhere until its pod comes back.
No lease that a pod has, or waits for, makes way.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable

from shared.addresses import AddressState
from shared.clock import Clock
from shared.clusters import Cluster
from shared.errors import Busy
from shared.ids import NodeName, SubnetId
from shared.messages.leases import RoomMade, RoomRequest
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import GiveUpStatus, Lease, ParkStatus
from .domain.ports import LeaseStore
from .durable_steps import DurableSteps
from .lease_pages import all_leases

log = logging.getLogger(__name__)

_EVERY_S = 2.0  # every lease is read to find the oldest


class Pressure:
    def __init__(
        self,
        leases: LeaseStore,
        steps: DurableSteps,
        record: Callable[[], Cluster | None],
        clock: Clock,
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._record = record
        self._clock = clock
        self._rests_until_s = 0.0

    async def make_room(self, request: RoomRequest) -> RoomMade:
        """End the oldest retained leases of the subnets that allow it. Asked again, it ends
        more: who asks waits until what it was given has come."""
        subnets = set(map(SubnetId, request.subnets))
        if request.is_node_full:
            oldest = await self._oldest(request, subnets, NodeName(request.node))
            leaving = [lease.address for lease in oldest if await self._leave(lease)]
            return RoomMade(ended=(), leaving=tuple(leaving))
        subnets &= self._allowed()
        if not subnets:
            return RoomMade(ended=())
        oldest = await self._oldest(request, subnets, None)
        ended = [lease.address for lease in oldest if await self._end(lease, request)]
        return RoomMade(ended=tuple(ended))

    async def _oldest(
        self, request: RoomRequest, subnets: set[SubnetId], node: NodeName | None
    ) -> list[Lease]:
        """Those that share their ENI, where a node is named: an ENI goes by itself."""
        now_s = self._clock.monotonic_s()
        if now_s < self._rests_until_s:
            raise Busy("room was made a moment ago: ask again once it has come")
        self._rests_until_s = now_s + _EVERY_S
        retained = [
            lease
            async for lease in all_leases(self._leases)
            if lease.state is AddressState.RETAINED
            and lease.subnet in subnets
            and (node is None or (lease.node == node and not lease.is_exclusive))
        ]
        return heapq.nsmallest(request.count, retained, key=lambda lease: lease.since)

    def _allowed(self) -> set[SubnetId]:
        record = self._record()
        if record is None:
            return set()
        return {each.subnet for each in record.subnets if each.reclaims_under_pressure}

    async def _leave(self, lease: Lease) -> bool:
        """It moves to nowhere, by the parker: a step that the reaper sees to."""
        # As it was seen: a pod that came back meanwhile keeps it.
        step = await self._steps.watched(self._leases.park(lease.identity, lease.since))
        ALLOCATOR_STEPS_TOTAL.labels("leave", step.status).inc()
        if step.status is not ParkStatus.PARKING or step.lease is None:
            return False
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
        return True

    async def _end(self, lease: Lease, request: RoomRequest) -> bool:
        # As it was seen: a pod that came back meanwhile keeps it.
        step = await self._steps.watched(
            self._leases.give_up(lease.identity, lease.generation, force=False)
        )
        ALLOCATOR_STEPS_TOTAL.labels("reclaim", step.status).inc()
        if step.status is not GiveUpStatus.EXPIRED or step.lease is None:
            return False
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
        reason = f"subnet {lease.subnet} is full, and pods wait on node {request.node}"
        self._steps.tell("expired", step.lease, reason=f"{reason}: it was retained longest")
        log.warning("a lease made way", extra={"lease": str(lease.identity), "reason": reason})
        return True
