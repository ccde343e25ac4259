"""A node is gone for ever: an operator says so, or whoever watches the cluster's nodes.

The cloud is asked first, and the node's agent: while the instance runs or the agent answers,
the word is refused unless it is forced. Then, in this order: the agent's life is ended, so that
nothing it says late counts; its leases are parked, journaled, and come to the nodes that their
next pods are on, the cloud being the fence; its ENIs leave the instance, and hold them until
then. After a crash in between the word is said again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from shared.addresses import AddressState
from shared.clock import Clock
from shared.errors import InvalidInput, NodeAlive, Unavailable
from shared.ids import EniId, InstanceId, NodeName
from shared.messages.base import DETAIL_CHARACTERS_MAX
from shared.messages.clusters import InstanceCondition
from shared.messages.departures import NodeGone, NodeGoneRequest
from shared.messages.events import NodeEvent
from shared.messages.leases import ReportedAddress
from shared.policies import LeasePolicy
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import ArriveStatus, Lease, VacateStatus
from .domain.ports import LeaseStore
from .durable_steps import DurableSteps, EventTeller
from .lease_pages import all_leases
from .returning import Inventories

log = logging.getLogger(__name__)

_ANSWER_AT_MOST: Final = timedelta(seconds=2)  # an agent that lives answers at once
_DURABLE_AT_ONCE_MAX: Final = 256
_ON_NODE: Final = frozenset({AddressState.BOUND_FIXED, AddressState.RETAINED})
_FORCE: Final = "use --force with a --reason if nothing on it can be a pod's any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the cloud says of a node's instance."""

    instance: InstanceId
    condition: InstanceCondition


class Machines(Protocol):
    """The eni_manager's side of a node's end."""

    async def look(self, node: NodeName) -> Machine | None:
        """Asked of the cloud now; None: no node of that name is known. Raises Unavailable."""
        ...

    async def leave(self, node: NodeName, reason: str, deadline: datetime) -> Sequence[EniId]:
        """The ENIs that left its instance; safe to repeat."""
        ...


class GoneNodes:
    """Safe to repeat: what was done before is found done."""

    def __init__(
        self,
        leases: LeaseStore,
        steps: DurableSteps,
        machines: Machines,
        inventories: Inventories,
        events: EventTeller,
        clock: Clock,
        *,
        default_policy: LeasePolicy,
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._machines = machines
        self._inventories = inventories
        self._events = events
        self._clock = clock
        self._default_policy = default_policy

    async def end(self, request: NodeGoneRequest) -> NodeGone:
        """Raises NodeAlive while something may run there, unless it is forced."""
        if request.force and not request.reason:
            raise InvalidInput.of("reason", request.reason, "a text, when `force` is given")
        node = NodeName(request.node)
        machine = await self._look(node, is_forced=request.force)
        why = _why(request, machine)
        log.warning("node is gone for ever", extra={"node": node, "reason": why})
        ended = await self._ended(node)
        await self._steps.watched(self._leases.leave(node))
        self._tell(node, machine, why)
        freed = await self._vacate(node, why)
        enis = await self._machines.leave(node, why, request.deadline)
        return NodeGone(
            node=node,
            instance=None if machine is None else machine.instance,
            condition=None if machine is None else machine.condition,
            leases=freed,
            ended=ended,
            enis=tuple(enis),
        )

    async def _look(self, node: NodeName, *, is_forced: bool) -> Machine | None:
        try:
            machine = await self._machines.look(node)
        except Unavailable as error:
            if is_forced:
                return None
            raise NodeAlive(
                f"what the instance of node {node} does is not known ({error}): ask again"
                f" later, or {_FORCE}"
            ) from error
        if is_forced:
            return machine
        if machine is None:
            raise NodeAlive(
                f"no instance of node {node} is known, so the cloud cannot be asked for it:"
                f" {_FORCE}"
            )
        if machine.condition is InstanceCondition.RUNNING:
            raise NodeAlive(
                f"instance {machine.instance} of node {node} is running: terminate or stop it"
                f" first, or {_FORCE}"
            )
        if await self._answers(node):
            raise NodeAlive(
                f"the agent of node {node} answers, though the cloud says that instance"
                f" {machine.instance} is {machine.condition}: stop it first, or {_FORCE}"
            )
        return machine

    async def _answers(self, node: NodeName) -> bool:
        try:
            await self._inventories.inventory(node, self._clock.now() + _ANSWER_AT_MOST)
        except Unavailable:
            return False
        return True

    async def _ended(self, node: NodeName) -> int:
        views = await self._leases.reported(node)
        states = [ReportedAddress.model_validate_json(each.body).state for each in views]
        return states.count(AddressState.BOUND_IMMEDIATE)

    async def _vacate(self, node: NodeName, why: str) -> int:
        count, batch = 0, list[Lease]()
        async for lease in all_leases(self._leases):
            if (freed := await self._free(lease, node)) is None:
                continue
            count += 1
            batch.append(freed)
            if len(batch) >= _DURABLE_AT_ONCE_MAX:
                await self._make_durable(batch, why)
                batch = []
        await self._make_durable(batch, why)
        return count

    async def _free(self, lease: Lease, node: NodeName) -> Lease | None:
        """The lease in its new state, if it was this node's."""
        if lease.moving_to == node:
            return await self._call_off(lease)
        if lease.node != node or lease.state not in _ON_NODE:
            return None
        step = await self._steps.watched(
            self._leases.vacate(
                lease.identity, lease.generation, node, policy=self._default_policy
            )
        )
        ALLOCATOR_STEPS_TOTAL.labels("vacate", step.status).inc()
        return step.lease if step.status is VacateStatus.PARKED else None

    async def _call_off(self, lease: Lease) -> Lease | None:
        """It was on its way to the node, and may have come there or not: the cloud knows when
        it moves on. One that was nowhere before ends, as if the cloud had refused it."""
        if not lease.has_place:
            ended = await self._steps.watched(
                self._leases.give_up(
                    lease.identity, lease.generation, force=False, is_called_off=True
                )
            )
            return None if ended.is_journaled else ended.lease
        step = await self._steps.watched(self._leases.parked(lease.identity, lease.generation))
        return step.lease if step.status is ArriveStatus.ARRIVED else None

    async def _make_durable(self, batch: Sequence[Lease], why: str) -> None:
        await self._steps.make_all_durable(batch)
        for lease in batch:
            self._steps.tell(lease.state, lease, reason=why)

    def _tell(self, node: NodeName, machine: Machine | None, why: str) -> None:
        now = self._clock.now()
        self._events.tell(
            NodeEvent(
                verb="gone",
                node=node,
                instance="unknown" if machine is None else machine.instance,
                detail=why,
                at=now,
            ),
            message_id=f"gone/{node}/{now.timestamp()}",
        )


def _why(request: NodeGoneRequest, machine: Machine | None) -> str:
    verb = "forced" if request.force else "said"
    state = (
        "its instance is not known"
        if machine is None
        else f"instance {machine.instance} is {machine.condition}"
    )
    reason = f": {request.reason}" if request.reason else ""
    text = f"node {request.node} is gone, {verb} by {request.by} ({state}){reason}"
    return text[:DETAIL_CHARACTERS_MAX]
