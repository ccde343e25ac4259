"""``node.<node>.lease.*`` and ``lease.*``: an identity's right to an address.

An agent's request carries its fence: the incarnation that ``node.register`` gave its book, a
sequence that rises with every request, and the lowest sequence it has no definite answer to.
What is older than the node's low-water mark is refused as stale, so late messages stay dead.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, model_validator

from shared.addresses import AddressState
from shared.annotations import NOMINATED_SUBNETS_MAX, DeletePolicy
from shared.policies import LeasePolicy

from .base import (
    BATCH_MAX,
    AttachmentFields,
    Endpoint,
    EniFields,
    IdentityFields,
    Message,
    Name,
    Request,
    ServiceName,
    WorkloadFields,
)

POOL_SLOTS_MAX: Final = 1024
REASON_CHARACTERS_MAX: Final = 512


class Fence(Message):
    """Which life of the agent's book speaks, and where in it."""

    incarnation: Annotated[int, Field(ge=1)]
    sequence: Annotated[int, Field(ge=1)]
    lowest_unsettled: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _unsettled_is_not_ahead(self) -> Fence:
        if self.lowest_unsettled > self.sequence:
            raise ValueError(
                f"lowest_unsettled {self.lowest_unsettled} is above sequence {self.sequence}"
            )
        return self


class AgentRequest(Request):
    """A request from a node's agent; `node` must equal the node in the subject."""

    node: Name
    fence: Fence


class Candidate(Message):
    """An idle address of the node's stock, promised to this request until it is answered."""

    address: IPv4Address
    eni: Name
    subnet: Name


class PoolFields(Message):
    """The pod's name is random: its address is that of a slot of its workload."""

    size: Annotated[int, Field(ge=1, le=POOL_SLOTS_MAX)]  # pods there may be: replicas + surge
    subnets: Annotated[tuple[Name, ...], Field(max_length=BATCH_MAX)]  # of the node's ENIs


class AcquireRequest(AgentRequest):
    """The fixed address of an identity, for one attachment on this node."""

    type: Literal["berth.v1.acquire_request"] = "berth.v1.acquire_request"
    identity: IdentityFields
    attachment: AttachmentFields
    pod_uid: Name
    policy: DeletePolicy = DeletePolicy.NEVER
    expires_after: timedelta | None = None  # once the pod went; None: never
    candidate: Candidate | None = None
    is_exclusive: bool = False  # the address is the primary one of an ENI of its own
    workload: WorkloadFields | None = None  # what made the pod
    pool: PoolFields | None = None  # set: the identity is a slot of the workload
    nominated: IPv4Address | None = None  # that the pod named; a lease that is there wins
    nominated_subnets: Annotated[
        tuple[Name, ...], Field(max_length=NOMINATED_SUBNETS_MAX)
    ] = ()  # the candidate is of one of them; a lease that is there wins

    @model_validator(mode="after")
    def _only_bare_pods_nominate(self) -> AcquireRequest:
        if self.nominated is not None and (self.pool is not None or self.is_exclusive):
            raise ValueError("nominated: neither beside a pool nor with is_exclusive")
        return self

    @model_validator(mode="after")
    def _pool_has_a_workload(self) -> AcquireRequest:
        if self.pool is not None and self.workload is None:
            raise ValueError("pool: a workload must be named with it")
        return self


class Acquired(Message):
    """The address, bound here; acknowledged only once it is durable and journaled."""

    type: Literal["berth.v1.acquired"] = "berth.v1.acquired"
    address: IPv4Address
    eni: Name
    subnet: Name
    generation: Annotated[int, Field(ge=1)]
    candidate_taken: bool  # the candidate became the lease; else it is the agent's stock again
    moved_eni: EniFields | None = None  # after a move: the ENI it now sits on
    identity: IdentityFields | None = None  # whose it is, when it is a slot's: released as that
    note: str | None = None  # why it is not what was nominated


class ReleaseOutcome(StrEnum):
    RETAINED = "retained"  # the pod is gone, its lease stays
    STALE = "stale"  # a newer bind holds the lease: nothing was changed, and nothing need be
    UNKNOWN = "unknown"  # no such lease: nothing to release


class ReleaseRequest(AgentRequest):
    """The attachment is unwired: its kernel objects are gone before this is sent."""

    type: Literal["berth.v1.release_request"] = "berth.v1.release_request"
    identity: IdentityFields
    attachment: AttachmentFields
    pod_uid: Name
    generation: Annotated[int, Field(ge=1)]  # of the bind that ends


class Released(Message):
    type: Literal["berth.v1.released"] = "berth.v1.released"
    release: ReleaseOutcome


class ReportedAddress(Message):
    """One `Immediate` address of a node, as its agent knows it."""

    address: IPv4Address
    eni: Name
    state: Literal[AddressState.BOUND_IMMEDIATE, AddressState.COOLING, AddressState.STOCK]
    identity: IdentityFields | None = None  # who has it, or had it last
    pod_uid: str | None = None
    since: AwareDatetime


class ReportRequest(AgentRequest):
    """Changes since the last report, newest state per address; or all, if `is_whole`."""

    type: Literal["berth.v1.report_request"] = "berth.v1.report_request"
    is_whole: bool
    addresses: Annotated[list[ReportedAddress], Field(max_length=BATCH_MAX)]
    gone: Annotated[
        tuple[IPv4Address, ...], Field(max_length=BATCH_MAX)
    ] = ()  # no more its own
    # Candidates of refused questions that are below `fence.lowest_unsettled`, or of an earlier
    # life: to be stock again.
    withdrawn: Annotated[tuple[IPv4Address, ...], Field(max_length=2 * BATCH_MAX)] = ()


class Reported(Message):
    type: Literal["berth.v1.reported"] = "berth.v1.reported"
    count: Annotated[int, Field(ge=0)]
    # Of `withdrawn`: leases', by a copy of the question whose answer was lost. Not stock again.
    leased: tuple[IPv4Address, ...] = ()


class LeaseView(Message):
    """One lease as operators see it: fixed ones from the store, others as agents report."""

    identity: IdentityFields | None
    address: IPv4Address
    state: AddressState
    policy: DeletePolicy
    node: str | None
    eni: str | None
    subnet: str | None = None
    pod_uid: str | None = None
    generation: int | None = None
    since: AwareDatetime
    expires_at: AwareDatetime | None = None
    ends_with: LeasePolicy | None = None  # of a fixed lease: what ends it once its pod went
    workload: str | None = None  # what made its last pod
    attachment: AttachmentFields | None = None  # of its last bind
    bound_generation: int | None = None  # of that bind, which its release names


class LeaseGetRequest(Request):
    type: Literal["berth.v1.lease_get_request"] = "berth.v1.lease_get_request"
    identity: IdentityFields


class LeaseFound(Message):
    type: Literal["berth.v1.lease_found"] = "berth.v1.lease_found"
    lease: LeaseView


class LeaseListRequest(Request):
    """A page of leases in the order of the store's cursor; filters narrow it."""

    type: Literal["berth.v1.lease_list_request"] = "berth.v1.lease_list_request"
    node: str | None = None
    namespace: str | None = None
    cursor: str = "0"
    limit: Annotated[int, Field(ge=1, le=BATCH_MAX)] = 256


class LeasesListed(Message):
    type: Literal["berth.v1.leases_listed"] = "berth.v1.leases_listed"
    leases: list[LeaseView]
    next_cursor: str  # "0" after the last page


class LeaseForgetRequest(Request):
    """End a lease before its time; its address is handed over as an expired one's."""

    type: Literal["berth.v1.lease_forget_request"] = "berth.v1.lease_forget_request"
    identity: IdentityFields
    generation: Annotated[int, Field(ge=1)]  # as the person saw it: a changed lease is kept
    force: bool = False  # even while a pod uses it: then the reason must be told
    reason: Annotated[str, Field(max_length=REASON_CHARACTERS_MAX)] | None = None
    by: Name  # who asks, in their own words, for the audit


class LeaseForgotten(Message):
    """It is nobody's any more: durable, and the identity gets another address from now on."""

    type: Literal["berth.v1.lease_forgotten"] = "berth.v1.lease_forgotten"
    address: IPv4Address
    generation: Annotated[int, Field(ge=1)]


class LeasePolicyRequest(Request):
    """What ends a fixed lease once its pod went, whatever the pod and the cluster say."""

    type: Literal["berth.v1.lease_policy_request"] = "berth.v1.lease_policy_request"
    identity: IdentityFields
    expires_after: timedelta | None  # None: no span ends it
    policy: LeasePolicy = LeasePolicy.NEVER
    by: Name  # who asks, in their own words, for the audit


class LeasePolicySet(Message):
    type: Literal["berth.v1.lease_policy_set"] = "berth.v1.lease_policy_set"
    lease: LeaseView


class RoomRequest(Request):
    """Pods wait on a node, and its subnets, or the node itself, are full: retained leases may
    have to make way."""

    type: Literal["berth.v1.room_request"] = "berth.v1.room_request"
    node: Name
    subnets: Annotated[tuple[Name, ...], Field(min_length=1, max_length=BATCH_MAX)]
    count: Annotated[int, Field(ge=1, le=BATCH_MAX)]  # leases that may end, or make way
    # The node, and not its subnets: then none ends, and those that rest on the node itself are
    # held elsewhere, whatever its subnets allow.
    is_node_full: bool = False


class RoomMade(Message):
    """Whose leases ended, the longest retained first; none where no subnet allows it."""

    type: Literal["berth.v1.room_made"] = "berth.v1.room_made"
    ended: tuple[IPv4Address, ...]
    leaving: tuple[IPv4Address, ...] = ()  # soon: their leases move to nowhere


LEASE_ACQUIRE: Final = Endpoint(
    name="node.<node>.lease.acquire",
    server=ServiceName.ALLOCATOR,
    request=AcquireRequest,
    outcome=Acquired,
    idempotency_key="attachment, pod_uid",
    on_timeout="maybe bound: ask again with the same attachment; the candidate stays promised",
    timeout_s=5.0,
)
LEASE_RELEASE: Final = Endpoint(
    name="node.<node>.lease.release",
    server=ServiceName.ALLOCATOR,
    request=ReleaseRequest,
    outcome=Released,
    idempotency_key="attachment, generation",
    on_timeout="maybe retained: send again from the outbox",
    timeout_s=5.0,
)
LEASE_REPORT: Final = Endpoint(
    name="node.<node>.lease.report",
    server=ServiceName.ALLOCATOR,
    request=ReportRequest,
    outcome=Reported,
    idempotency_key="fence.sequence",
    on_timeout="send the newest state again",
    timeout_s=5.0,
)
LEASE_GET: Final = Endpoint(
    name="lease.get",
    server=ServiceName.ALLOCATOR,
    request=LeaseGetRequest,
    outcome=LeaseFound,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=2.0,
)
LEASE_LIST: Final = Endpoint(
    name="lease.list",
    server=ServiceName.ALLOCATOR,
    request=LeaseListRequest,
    outcome=LeasesListed,
    idempotency_key="none: it reads",
    on_timeout="ask for the same page again",
    timeout_s=5.0,
)
LEASE_FORGET: Final = Endpoint(
    name="lease.forget",
    server=ServiceName.ALLOCATOR,
    request=LeaseForgetRequest,
    outcome=LeaseForgotten,
    idempotency_key="identity, generation",
    on_timeout="maybe ended: ask again with the same generation",
    timeout_s=5.0,
)
LEASE_POLICY: Final = Endpoint(
    name="lease.policy",
    server=ServiceName.ALLOCATOR,
    request=LeasePolicyRequest,
    outcome=LeasePolicySet,
    idempotency_key="identity, expires_after, policy",
    on_timeout="maybe set: say it again",
    timeout_s=5.0,
)
LEASE_MAKE_ROOM: Final = Endpoint(
    name="lease.make_room",
    server=ServiceName.ALLOCATOR,
    request=RoomRequest,
    outcome=RoomMade,
    idempotency_key="none: asked again, it ends more",
    on_timeout="maybe ended: look whether room has come before asking again",
    timeout_s=10.0,
)
