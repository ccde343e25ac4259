"""The allocator's use cases: message in, message out, in terms of its ports.

The order of effects is the promise: store, then journal, then answer. A repeat of a step that
is in the store but not yet in the journal is journaled before it is answered.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Protocol

from shared.addresses import AddressState
from shared.annotations import DeletePolicy
from shared.clock import Clock
from shared.errors import (
    BerthError,
    InvalidInput,
    Moving,
    NotFound,
)
from shared.ids import (
    EniId,
    Generation,
    Identity,
    Incarnation,
    NodeName,
    PodUid,
    SubnetId,
    WorkloadName,
)
from shared.messages.base import EniFields, IdentityFields
from shared.messages.events import NodeEvent
from shared.messages.leases import (
    Acquired,
    AcquireRequest,
    Fence,
    LeaseFound,
    LeaseGetRequest,
    LeaseListRequest,
    LeasesListed,
    LeaseView,
    Released,
    ReleaseOutcome,
    ReleaseRequest,
    Reported,
    ReportedAddress,
    ReportRequest,
)
from shared.messages.moves import ADDRESS_MOVE
from shared.messages.nodes import Registered, RegisterRequest
from shared.policies import LeasePolicy
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.leases import (
    NOWHERE,
    AcquireStatus,
    ArriveStatus,
    Claim,
    FencedBy,
    Lease,
    Pool,
    RetainStatus,
    StockCandidate,
    refusal_of,
)
from .domain.ports import LeaseStore, ReportedView
from .durable_steps import DurableSteps, EventTeller
from .nominations import Nominations, ends_move, note_on
from .returning import ReturningNodes
from .takeovers import TakeOvers
from .views import check_span, view_of

log = logging.getLogger(__name__)

_MOVE_TAKES = timedelta(seconds=ADDRESS_MOVE.timeout_s)
_STEPS_MAX = 4  # of one acquire: taken over, moved, perhaps moved on to another node meanwhile


class Mover(Protocol):
    """Who has an address moved at the cloud."""

    async def move(self, lease: Lease, deadline: datetime) -> EniFields:
        """The ENI that it sits on now. Raises what the eni_manager refused, or Unavailable."""
        ...


class FixedIpRule(Protocol):
    """Whether this cluster keeps addresses for pods that are away."""

    def check_fixed(self, identity: Identity) -> None:
        """Raises FixedIpNotSupported, or ClusterNotEnabled."""
        ...


class Allocator:
    """Decides which identity holds which address."""

    def __init__(
        self,
        leases: LeaseStore,
        steps: DurableSteps,
        mover: Mover,
        events: EventTeller,
        clock: Clock,
        fixed_ips: FixedIpRule,
        take_overs: TakeOvers,
        returning: ReturningNodes,
        nominations: Nominations,
        *,
        default_expires_after: timedelta | None,
        default_policy: LeasePolicy,
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._mover = mover
        self._events = events
        self._clock = clock
        self._fixed_ips = fixed_ips
        self._take_overs = take_overs
        self._returning = returning
        self._nominations = nominations
        self._default_expires_after = default_expires_after
        self._default_policy = default_policy

    async def register(self, request: RegisterRequest) -> Registered:
        await self._returning.welcome(
            NodeName(request.node), has_lived=request.last_incarnation > 0
        )
        incarnation = await self._steps.watched(
            self._leases.register(
                NodeName(request.node),
                last=Incarnation(request.last_incarnation),
                nonce=request.nonce,
            )
        )
        self._events.tell(
            NodeEvent(
                verb="registered",
                node=request.node,
                instance=request.instance,
                detail=f"incarnation {incarnation}, version {request.version}",
                at=self._clock.now(),
            ),
            message_id=f"register/{request.node}/{request.nonce}",
        )
        return Registered(incarnation=incarnation)

    async def acquire(self, request: AcquireRequest) -> Acquired:
        """The identity's address, bound on this node; moved here first if it is elsewhere."""
        if request.policy is not DeletePolicy.NEVER and request.nominated is None:
            raise InvalidInput.of("policy", request.policy, "Never: others come from stock")
        claim = _claim(request, self._expires_after(request))
        self._fixed_ips.check_fixed(claim.identity)
        if request.nominated is not None and claim.candidate is None:
            claim = await self._nominations.settle(claim, request.nominated, request.deadline)
        moved: EniFields | None = None
        for _ in range(_STEPS_MAX):
            step = await self._steps.watched(self._leases.acquire(claim))
            ALLOCATOR_STEPS_TOTAL.labels("acquire", step.status).inc()
            if step.ended is not None:
                await self._end_slot(step.ended, claim)
            is_held = step.status in _HELD_BY_OTHERS
            if is_held and await self._take_overs.attempt(claim, step.lease):
                continue
            if step.status is AcquireStatus.MOVING and await self._is_left_moving(step.lease):
                assert step.lease is not None, "a moving lease is there"
                await self._move(step.lease, request.deadline)
                continue
            if step.lease is None or step.status not in _GRANTED:
                raise refusal_of(step.status, claim, step.lease)
            if not step.is_journaled:
                await self._steps.make_durable(step.lease)
            if step.status is not AcquireStatus.MUST_MOVE:
                note = note_on(step.lease, request.nominated, request.nominated_subnets)
                self._steps.tell("bound", step.lease, reason=note)
                return _acquired(step.lease, claim, moved, note)
            self._steps.tell("moving", step.lease)
            moved = await self._move(step.lease, request.deadline)
        raise Moving(f"the address of {claim.identity} keeps moving: try again")

    async def _end_slot(self, ended: Lease, claim: Claim) -> None:
        # Before its successor is answered: else a rebuild could find one slot too many.
        await self._steps.make_durable(ended)
        self._steps.tell(
            "expired", ended, reason=f"node {claim.fence.node} has no ENI in {ended.subnet}"
        )

    def _expires_after(self, request: AcquireRequest) -> timedelta | None:
        if request.policy is DeletePolicy.IMMEDIATE:
            return timedelta(0)
        if request.expires_after is None:
            return self._default_expires_after
        return check_span(request.expires_after)

    async def _is_left_moving(self, lease: Lease | None) -> bool:
        """Whether whoever had it moved elsewhere seems to be gone. Then whoever waits finishes
        that move, which is safe to repeat in its own generation."""
        if lease is None or lease.moving_to in (None, NOWHERE):
            return False
        return await self._leases.now() - lease.since > _MOVE_TAKES

    async def _move(self, lease: Lease, deadline: datetime) -> EniFields:
        # The moving step is journaled by now: it alone authorises the cloud call.
        assert lease.moving_to is not None
        try:
            eni = await self._mover.move(lease, deadline)
        except BerthError as error:
            if ends_move(lease, error):
                await self._call_off(lease, error)
            raise
        step = await self._steps.watched(
            self._leases.arrive(lease.identity, lease.generation, lease.moving_to, eni.eni_id)
        )
        ALLOCATOR_STEPS_TOTAL.labels("arrive", step.status).inc()
        if step.status is ArriveStatus.ARRIVED and step.lease is not None:
            await self._steps.make_durable(step.lease)
            self._steps.tell("moved" if step.lease.node else "parked", step.lease)
        return eni

    async def _call_off(self, lease: Lease, error: BerthError) -> None:
        if not lease.has_place:
            await self._nominations.give_up(lease, error)
            return
        # Refused before any cloud call: it is where it was, and free to go elsewhere. An ENI
        # may have left its node by then; parked, it is looked for wherever it is.
        if lease.is_exclusive or lease.node is None or lease.eni is None:
            called_off = self._leases.parked(lease.identity, lease.generation)
        else:
            called_off = self._leases.arrive(
                lease.identity, lease.generation, lease.node, lease.eni
            )
        step = await self._steps.watched(called_off)
        ALLOCATOR_STEPS_TOTAL.labels("call_off", step.status).inc()
        if step.status is ArriveStatus.ARRIVED and step.lease is not None:
            await self._steps.make_durable(step.lease)

    async def release(self, request: ReleaseRequest) -> Released:
        identity = request.identity.to_identity()
        step = await self._steps.watched(
            self._leases.retain(
                _fence(request.fence, request.node),
                identity,
                str(request.attachment.to_key()),
                Generation(request.generation),
                policy=self._default_policy,
            )
        )
        ALLOCATOR_STEPS_TOTAL.labels("retain", step.status).inc()
        if step.status is RetainStatus.UNKNOWN or step.lease is None:
            return Released(release=ReleaseOutcome.UNKNOWN)
        if step.status is RetainStatus.SUPERSEDED:
            return Released(release=ReleaseOutcome.STALE)
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
        self._steps.tell("retained", step.lease)
        return Released(release=ReleaseOutcome.RETAINED)

    async def report(self, request: ReportRequest) -> Reported:
        views = [
            ReportedView(address=entry.address, body=entry.model_dump_json(exclude_none=True))
            for entry in request.addresses
        ]
        leased = await self._steps.watched(
            self._leases.report(
                _fence(request.fence, request.node),
                views,
                request.gone,
                request.withdrawn,
                is_whole=request.is_whole,
            )
        )
        return Reported(count=len(views), leased=tuple(leased))

    async def get(self, request: LeaseGetRequest) -> LeaseFound:
        identity = request.identity.to_identity()
        lease = await self._leases.find(identity)
        if lease is not None:
            return LeaseFound(lease=view_of(lease))
        for node in await self._leases.nodes():
            for view in await self._reported(node):
                if view.identity == request.identity and view.state is not AddressState.STOCK:
                    return LeaseFound(lease=view)
        raise NotFound(f"{identity} has no lease")

    async def page(self, request: LeaseListRequest) -> LeasesListed:
        """Fixed leases page by page, then each node's reported ones: cursor ``node/<name>``."""
        if not request.cursor.startswith("node/"):
            if not request.cursor.isdecimal():
                raise InvalidInput.of("cursor", request.cursor, "one that a page returned")
            cursor, leases = await self._leases.leases(int(request.cursor), request.limit)
            views = [view_of(lease) for lease in leases]
            following = str(cursor) if cursor else await self._first_node(after=None)
        else:
            node = NodeName(request.cursor.removeprefix("node/"))
            views = await self._reported(node)
            following = await self._first_node(after=node)
        wanted = [view for view in views if _matches(view, request)]
        return LeasesListed(leases=wanted, next_cursor=following)

    async def _first_node(self, *, after: NodeName | None) -> str:
        for node in await self._leases.nodes():
            if after is None or node > after:
                return f"node/{node}"
        return "0"

    async def _reported(self, node: NodeName) -> list[LeaseView]:
        return [_reported_view(node, view) for view in await self._leases.reported(node)]


_HELD_BY_OTHERS = (AcquireStatus.HOLDER_ALIVE, AcquireStatus.POOL_FULL)
_GRANTED = (AcquireStatus.BOUND, AcquireStatus.HELD, AcquireStatus.MUST_MOVE)


def _fence(fence: Fence, node: str) -> FencedBy:
    return FencedBy(
        node=NodeName(node),
        incarnation=fence.incarnation,
        sequence=fence.sequence,
        lowest_unsettled=fence.lowest_unsettled,
    )


def _claim(request: AcquireRequest, expires_after: timedelta | None) -> Claim:
    candidate = request.candidate
    identity, workload, pool = request.identity.to_identity(), None, None
    if request.workload is not None:
        made_by = request.workload
        workload = WorkloadName(identity.namespace, made_by.kind, made_by.name)
    if request.pool is not None:
        assert workload is not None, "the message refuses a pool without a workload"
        pool = Pool(
            workload=workload,
            network=identity.network,
            size=request.pool.size,
            subnets=frozenset(map(SubnetId, request.pool.subnets)),
        )
    return Claim(
        fence=_fence(request.fence, request.node),
        identity=identity,
        attachment=request.attachment.to_key(),
        pod_uid=PodUid(request.pod_uid),
        expires_after=expires_after,
        candidate=StockCandidate(
            address=candidate.address,
            eni=EniId(candidate.eni),
            subnet=SubnetId(candidate.subnet),
        )
        if candidate is not None
        else None,
        workload=workload,
        pool=pool,
        is_exclusive=request.is_exclusive,
        policy=LeasePolicy.IMMEDIATE
        if request.policy is DeletePolicy.IMMEDIATE
        else LeasePolicy.NEVER,
    )


def _acquired(
    lease: Lease, claim: Claim, moved: EniFields | None, note: str | None
) -> Acquired:
    assert lease.eni is not None, "a bound lease has a place"
    candidate = claim.candidate
    return Acquired(
        address=lease.address,
        eni=lease.eni,
        subnet=lease.subnet,
        generation=lease.release_generation,
        candidate_taken=candidate is not None and candidate.address == lease.address,
        moved_eni=moved,
        identity=IdentityFields.of(lease.identity) if claim.pool is not None else None,
        note=note,
    )


def _reported_view(node: NodeName, view: ReportedView) -> LeaseView:
    entry = ReportedAddress.model_validate_json(view.body)
    return LeaseView(
        identity=entry.identity,
        address=entry.address,
        state=entry.state,
        policy=DeletePolicy.IMMEDIATE,
        node=node,
        eni=entry.eni,
        pod_uid=entry.pod_uid,
        since=entry.since,
    )


def _matches(view: LeaseView, request: LeaseListRequest) -> bool:
    if request.node is not None and view.node != request.node:
        return False
    if request.namespace is None:
        return True
    return view.identity is not None and view.identity.namespace == request.namespace
