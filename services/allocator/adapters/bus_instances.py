"""What the eni_manager tells of the machines that nodes are, by the cloud's word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from services.allocator.gone_nodes import Machine
from shared.bus.client import BusClient
from shared.clock import Clock
from shared.errors import BerthError, NotFound
from shared.ids import EniId, InstanceId, NodeName
from shared.messages.clusters import NODE_INSTANCE, InstanceCondition, NodeInstanceRequest
from shared.messages.departures import NODE_LEAVE, NodeLeaveRequest

_FRESH_S: Final = 10.0  # waiting pods ask twice a second, and each answer costs a cloud call
_KNOWN_MAX: Final = 4096


class BusInstances:
    """Implements Instances; an answer is good for some time."""

    def __init__(self, client: BusClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[NodeName, tuple[float, str | None]] = {}

    async def has_ended(self, node: NodeName) -> str | None:
        now_s = self._clock.monotonic_s()
        known = self._known.get(node)
        if known is not None and now_s - known[0] < _FRESH_S:
            return known[1]
        reason = await self._ask(node)
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[node] = (now_s, reason)
        return reason

    async def _ask(self, node: NodeName) -> str | None:
        deadline = self._clock.now() + timedelta(seconds=NODE_INSTANCE.timeout_s)
        try:
            found = await self._client.call(
                NODE_INSTANCE, NodeInstanceRequest(deadline=deadline, node=node)
            )
        except BerthError:
            return None  # nothing is proven
        if found.condition in (InstanceCondition.GONE, InstanceCondition.STOPPED):
            return f"instance {found.instance} of node {node} is {found.condition}"
        return None


class BusMachines:
    """Implements Machines: every look asks the cloud."""

    def __init__(self, client: BusClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def look(self, node: NodeName) -> Machine | None:
        deadline = self._clock.now() + timedelta(seconds=NODE_INSTANCE.timeout_s)
        try:
            found = await self._client.call(
                NODE_INSTANCE, NodeInstanceRequest(deadline=deadline, node=node)
            )
        except NotFound:
            return None
        return Machine(instance=InstanceId(found.instance), condition=found.condition)

    async def leave(self, node: NodeName, reason: str, deadline: datetime) -> Sequence[EniId]:
        latest = self._clock.now() + timedelta(seconds=NODE_LEAVE.timeout_s)
        left = await self._client.call(
            NODE_LEAVE,
            NodeLeaveRequest(deadline=min(deadline, latest), node=node, reason=reason),
        )
        return [EniId(each) for each in left.enis]
