"""A node that comes back to a store that does not know it: what its pods hold is theirs.

A store built anew from the journal knows the leases, and then nothing changes here. When both
books were lost it knows none: the agent's own word brings back the leases of pods that live on
its node, before it may ask for others. An agent that is away delays nobody, and keeps its own.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final, Protocol

from shared.addresses import AddressState
from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import Generation, NodeName, PodUid
from shared.messages.base import EniFields
from shared.messages.nodes import Inventory, InventoryEntry
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import Lease, PutBackStatus
from .domain.ports import LeaseStore
from .durable_steps import DurableSteps

log = logging.getLogger(__name__)

_ANSWER_AT_MOST: Final = timedelta(seconds=2)  # an agent that asks is there to answer


class Inventories(Protocol):
    async def inventory(self, node: NodeName, deadline: datetime) -> Inventory:
        """Raises Unavailable when its agent does not answer in time."""
        ...


class ReturningNodes:
    """Asked before each registration."""

    def __init__(
        self,
        leases: LeaseStore,
        steps: DurableSteps,
        inventories: Inventories,
        clock: Clock,
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._inventories = inventories
        self._clock = clock

    async def welcome(self, node: NodeName, *, has_lived: bool) -> None:
        """The leases of its pods are in both books when it returns."""
        if not has_lived or await self._leases.knows(node):
            return
        try:
            inventory = await self._inventories.inventory(
                node, self._clock.now() + _ANSWER_AT_MOST
            )
        except Unavailable as error:
            log.warning(
                "a node is registered without its inventory",
                extra={"node": node, "error": str(error)},
            )
            return
        enis = {eni.eni: eni for eni in inventory.enis}
        brought: list[Lease] = []
        for entry in inventory.addresses:
            eni = enis.get(entry.eni)
            lease = None if eni is None else _lease_of(entry, node, eni)
            if lease is not None:
                brought += await self._bring(lease)
        await self._steps.make_all_durable(brought)
        for lease in brought:
            self._steps.tell("restored", lease, reason="from the inventory of its node")

    async def _bring(self, lease: Lease) -> list[Lease]:
        step = await self._steps.watched(
            self._leases.put_back(lease, replace=False, is_trial=False)
        )
        ALLOCATOR_STEPS_TOTAL.labels("bring_back", step.status).inc()
        if step.status in (PutBackStatus.LIVE, PutBackStatus.ADDRESS_TAKEN):
            known = None if step.lease is None else step.lease.address
            log.warning(
                "an agent and the leases disagree",
                extra={
                    "identity": str(lease.identity),
                    "node": lease.node,
                    "agent_says": str(lease.address),
                    "lease": str(known) if known is not None else "another identity's",
                },
            )
        is_new = step.lease is not None and not step.is_journaled
        return [step.lease] if is_new and step.lease is not None else []


def _lease_of(entry: InventoryEntry, node: NodeName, eni: EniFields) -> Lease | None:
    """None: no pod's own, or one that the agent cannot tell of."""
    if entry.state is not AddressState.BOUND_FIXED or entry.identity is None:
        return None
    if entry.pod_uid is None or entry.attachment is None:
        return None
    return Lease(
        identity=entry.identity.to_identity(),
        address=entry.address,
        state=AddressState.BOUND_FIXED,
        generation=Generation(entry.generation or 1),
        subnet=eni.subnet_id,
        node=node,
        eni=eni.eni_id,
        moving_to=None,
        pod_uid=PodUid(entry.pod_uid),
        attachment=str(entry.attachment.to_key()),
        since=entry.since,
        expires_after=None,
        is_exclusive=eni.is_exclusive,
    )
