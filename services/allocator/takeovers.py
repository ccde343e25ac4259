"""Who has ended without a word: the holder of a fixed address on a node that does not answer.

An agent says when its pod has ended, and on its own node only it can. Elsewhere there are two
proofs: the pod's object is gone from the cluster, or the instance that it ran on is gone or
stopped. Either way the address is migrated before anybody else has it: the cloud is the fence.
"""

from __future__ import annotations

import logging

from shared.addresses import AddressState
from shared.ids import PodName, PodUid
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import Claim, Lease, TakeOverStatus
from .domain.ports import Instances, LeaseStore, Workloads
from .domain.retention import Presence
from .durable_steps import DurableSteps

log = logging.getLogger(__name__)

_SLOTS_MAX = 16  # of a full pool whose holders are looked at for one claim


class TakeOvers:
    """Moves a lease away from a holder that is proven to have ended."""

    def __init__(
        self,
        leases: LeaseStore,
        steps: DurableSteps,
        workloads: Workloads,
        instances: Instances,
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._workloads = workloads
        self._instances = instances

    async def attempt(self, claim: Claim, held: Lease | None) -> bool:
        """Whether a lease that stood in the claim's way now moves to the claim's node."""
        for lease in [held] if held is not None else await self._slots_of(claim):
            if lease.node is None or lease.node == claim.fence.node:
                continue  # on the same node only its agent ends it
            reason = await self._why_ended(lease, claim)
            if reason is not None and await self._take_over(claim, lease, reason):
                return True
        return False

    async def _is_absent(self, pod: PodName, uid: PodUid) -> bool:
        return await self._workloads.objects(pod, uid) is Presence.ABSENT

    async def _slots_of(self, claim: Claim) -> list[Lease]:
        """The oldest binds of a full pool."""
        if claim.pool is None:
            return []
        found = [await self._leases.find(slot) for slot in claim.pool.slots]
        bound = [it for it in found if it and it.state is AddressState.BOUND_FIXED]
        return sorted(bound, key=lambda lease: lease.generation)[:_SLOTS_MAX]

    async def _why_ended(self, lease: Lease, claim: Claim) -> str | None:
        assert lease.node is not None, "a bound lease has a place"
        pod, uid = lease.identity.pod, lease.pod_uid
        assert uid is not None, "a bound lease names its pod"
        is_gone = pod is not None and await self._is_absent(pod, uid)
        # Else the claim is a late question, of a pod that has ended itself.
        if is_gone and pod is not None and not await self._is_absent(pod, claim.pod_uid):
            return f"the Pod object of uid {uid} is gone"
        return await self._instances.has_ended(lease.node)

    async def _take_over(self, claim: Claim, lease: Lease, reason: str) -> bool:
        step = await self._steps.watched(
            self._leases.take_over(lease.identity, lease.generation, claim)
        )
        ALLOCATOR_STEPS_TOTAL.labels("take_over", step.status).inc()
        if step.status is not TakeOverStatus.MOVING or step.lease is None:
            return False
        await self._steps.make_durable(step.lease)
        self._steps.tell("moving", step.lease, reason=f"{lease.pod_uid} has ended: {reason}")
        log.warning(
            "a lease is taken over",
            extra={"lease": str(lease.identity), "from": lease.node, "reason": reason},
        )
        return True
