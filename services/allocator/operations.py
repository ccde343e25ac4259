"""What a person may do to a fixed lease, beyond looking at it."""

from __future__ import annotations

from datetime import timedelta

from shared.errors import BerthError, InvalidInput, LeaseInUse, Moving, NotFound, Stale
from shared.ids import Generation, Identity
from shared.messages.leases import (
    LeaseForgetRequest,
    LeaseForgotten,
    LeasePolicyRequest,
    LeasePolicySet,
)
from shared.policies import LeasePolicy
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import GiveUpStatus, Lease, PolicyStatus
from .domain.ports import LeaseStore
from .durable_steps import DurableSteps
from .views import check_span, view_of


class LeaseOperations:
    """Each is safe to repeat, and acts only on the lease as the person saw it."""

    def __init__(self, leases: LeaseStore, steps: DurableSteps) -> None:
        self._leases = leases
        self._steps = steps

    async def forget(self, request: LeaseForgetRequest) -> LeaseForgotten:
        """The lease expires now. One that a pod holds does so by force, with a reason."""
        if request.force and not request.reason:
            raise InvalidInput.of("reason", request.reason, "a text, when `force` is given")
        ended = await self.end(
            request.identity.to_identity(),
            Generation(request.generation),
            force=request.force,
            reason=_audit(request),
        )
        return LeaseForgotten(address=ended.address, generation=ended.generation)

    async def end(
        self, identity: Identity, generation: Generation, *, force: bool, reason: str
    ) -> Lease:
        """Expired and journaled when it returns; the reaper hands it over."""
        step = await self._steps.watched(
            self._leases.give_up(identity, generation, force=force)
        )
        ALLOCATOR_STEPS_TOTAL.labels("give_up", step.status).inc()
        if step.lease is None:
            raise NotFound(f"{identity} has no fixed lease")
        if step.status is not GiveUpStatus.EXPIRED:
            raise _refusal(step.status, step.lease)
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
            self._steps.tell("expired", step.lease, reason=reason)
        return step.lease

    async def set_policy(self, request: LeasePolicyRequest) -> LeasePolicySet:
        """What ends it from now on; a span counts from the moment its pod went."""
        span = None if request.expires_after is None else check_span(request.expires_after)
        if request.policy is LeasePolicy.IMMEDIATE:
            if span is not None:
                raise InvalidInput.of("expires_after", str(span), "none with policy immediate")
            span = timedelta(0)
        identity = request.identity.to_identity()
        step = await self._steps.watched(
            self._leases.set_policy(identity, span, policy=request.policy)
        )
        ALLOCATOR_STEPS_TOTAL.labels("set_policy", step.status).inc()
        if step.lease is None:
            raise NotFound(f"{identity} has no fixed lease")
        if step.status is PolicyStatus.MOVING:
            raise Moving(
                f"{step.lease.address} of {identity} is moving to node {step.lease.moving_to}:"
                " try again"
            )
        if step.status is PolicyStatus.EXPIRED:
            raise NotFound(f"the lease of {identity} has expired: it is being taken back")
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
            kept = "for ever" if span is None else f"{span} after its pod"
            ends = "" if request.policy is LeasePolicy.NEVER else f" ({request.policy})"
            self._steps.tell(
                "policy_set", step.lease, reason=f"kept {kept}{ends}, by {request.by}"
            )
        return LeasePolicySet(lease=view_of(step.lease))


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
