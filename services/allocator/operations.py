"""What a person may do to a fixed lease, beyond looking at it."""

from __future__ import annotations

from shared.errors import BerthError, InvalidInput, LeaseInUse, Moving, NotFound, Stale
from shared.ids import Generation
from shared.messages.leases import LeaseForgetRequest, LeaseForgotten
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import GiveUpStatus, Lease
from .domain.ports import LeaseStore
from .durable_steps import DurableSteps


class LeaseOperations:
    """Each is safe to repeat, and acts only on the lease as the person saw it."""

    def __init__(self, leases: LeaseStore, steps: DurableSteps) -> None:
        self._leases = leases
        self._steps = steps

    async def forget(self, request: LeaseForgetRequest) -> LeaseForgotten:
        """The lease expires now. One that a pod holds does so by force, with a reason."""
        if request.force and not request.reason:
            raise InvalidInput.of("reason", request.reason, "a text, when `force` is given")
        identity = request.identity.to_identity()
        step = await self._steps.watched(
            self._leases.give_up(identity, Generation(request.generation), force=request.force)
        )
        ALLOCATOR_STEPS_TOTAL.labels("give_up", step.status).inc()
        if step.lease is None:
            raise NotFound(f"{identity} has no fixed lease")
        if step.status is not GiveUpStatus.EXPIRED:
            raise _refusal(step.status, step.lease)
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
            self._steps.tell("expired", step.lease, reason=_audit(request))
        return LeaseForgotten(address=step.lease.address, generation=step.lease.generation)


def _refusal(status: GiveUpStatus, lease: Lease) -> BerthError:
    who, address = lease.identity, lease.address
    if status is GiveUpStatus.IN_USE:
        return LeaseInUse(
            f"{address} of {who} is used by pod uid {lease.pod_uid} on node {lease.node} since"
            f" {lease.since:%H:%M:%S}: delete the pod, or use --force with a --reason"
        )
    if status is GiveUpStatus.MOVING:
        return Moving(f"{address} of {who} is moving to node {lease.moving_to}: try again")
    return Stale(f"the lease of {who} has changed since: it is {lease.state} now; look again")


def _audit(request: LeaseForgetRequest) -> str:
    verb = "forced" if request.force else "released"
    return f"{verb} by {request.by}" + (f": {request.reason}" if request.reason else "")
