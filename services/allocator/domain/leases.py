"""A fixed lease, the claims on it, and what each refusal tells the person who waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final, Generic, TypeVar

from shared.addresses import AddressState
from shared.annotations import NETWORKS, NOMINATED_IP, NetworkMode
from shared.errors import (
    BerthError,
    EpochLost,
    HolderAlive,
    InvalidInput,
    LeaseInUse,
    Moving,
    NotRegistered,
    Stale,
    StockEmpty,
)
from shared.ids import (
    AttachmentKey,
    EniId,
    Generation,
    Identity,
    NodeName,
    PodUid,
    SubnetId,
    WorkloadName,
)
from shared.policies import LeasePolicy

# How long an address that a pod named is kept for it, should it never come for it.
NOMINATION_KEPT: Final = timedelta(minutes=5)
NOWHERE: Final = NodeName("")  # where a lease moves whose ENI leaves its node


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An identity's right to an address: where the address is, and who has it now."""

    identity: Identity
    address: IPv4Address
    state: AddressState
    generation: Generation
    subnet: SubnetId
    node: NodeName | None  # None: parked
    eni: EniId | None
    moving_to: NodeName | None
    pod_uid: PodUid | None  # of the last bind
    attachment: str | None  # str(AttachmentKey) of the last bind
    since: datetime
    expires_after: timedelta | None
    is_expiry_set: bool = False  # by a person, with the policy: neither pod nor cluster counts
    bound_generation: Generation | None = None  # of the bind, if a later step did not end it
    reserved_for: PodUid | None = None  # the pod for which a pool's slot moved, until it binds
    workload: str | None = None  # WorkloadName.local of what made the last pod
    policy: LeasePolicy = LeasePolicy.NEVER  # a person's, else the cluster's when its pod went
    is_exclusive: bool = False  # the address is an ENI's own: both go together

    def __post_init__(self) -> None:
        assert self.generation >= 1, "generations start at 1: 0 would equal 'no lease'"
        assert (self.moving_to is not None) == (self.state is AddressState.MOVING)

    @property
    def release_generation(self) -> Generation:
        """What the release of a bound lease must name."""
        return self.bound_generation or self.generation

    @property
    def has_place(self) -> bool:
        """Not so for an address that its pod named, until it has come for the first time."""
        return self.eni is not None

    @property
    def is_leaving(self) -> bool:
        """Its pod went, and its ENI is to leave the node."""
        return self.is_exclusive and self.state is AddressState.RETAINED

    @property
    def looked_at(self) -> datetime | None:
        """When it is first looked at whether it ends; None: only a person ends it."""
        if self.state is AddressState.EXPIRED or self.is_leaving or self.moving_to == NOWHERE:
            return self.since
        waits = self.state in (AddressState.RETAINED, AddressState.PARKED)
        return self.since if waits and self.policy.follows_workload else self.expires_at

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself; None: never, or a pod has it or waits for it."""
        waits = self.state in (AddressState.RETAINED, AddressState.PARKED)
        if not waits or self.expires_after is None:
            return None
        return self.since + self.expires_after


@dataclass(frozen=True, slots=True, kw_only=True)
class FencedBy:
    """Which life of a node's agent speaks, and where in it."""

    node: NodeName
    incarnation: int
    sequence: int
    lowest_unsettled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StockCandidate:
    """An address of the node's stock that may become the lease."""

    address: IPv4Address
    eni: EniId
    subnet: SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomination:
    """The address that a pod names for itself, and the subnet that it is in."""

    address: IPv4Address
    subnet: SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The addresses of a workload whose pods have random names: one for each there may be."""

    workload: WorkloadName
    network: str
    size: int  # replicas + surge
    subnets: frozenset[SubnetId]  # that the asking node has an ENI in

    @property
    def slots(self) -> Iterator[Identity]:
        """Twice as many as may be used: slots that were ended are still handed over."""
        return (Identity.of_slot(self.workload, n, self.network) for n in range(2 * self.size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A pod's request for its identity's address, on one node."""

    fence: FencedBy
    identity: Identity
    attachment: AttachmentKey
    pod_uid: PodUid
    expires_after: timedelta | None
    candidate: StockCandidate | None
    workload: WorkloadName | None = None  # what made the pod
    pool: Pool | None = None  # the identity is then one of its slots
    is_exclusive: bool = False  # the pod has an ENI of its own
    policy: LeasePolicy = LeasePolicy.NEVER  # the pod's own word
    nomination: Nomination | None = None  # becomes the lease where there is neither one nor a
    # candidate


Status = TypeVar("Status", bound=StrEnum)


class AcquireStatus(StrEnum):
    """What became of a claim."""

    BOUND = "bound"
    HELD = "held"  # it was this attachment's already
    MUST_MOVE = "must_move"
    MOVING = "moving"
    HOLDER_ALIVE = "holder_alive"
    EXPIRING = "expiring"
    NO_CANDIDATE = "no_candidate"
    CANDIDATE_TAKEN = "candidate_taken"
    NOMINATED_TAKEN = "nominated_taken"  # its lease is another identity's
    POOL_FULL = "pool_full"
    OTHER_KIND = "other_kind"  # of a whole ENI, and the pod shares one, or the reverse


class ArriveStatus(StrEnum):
    """What became of a move's end."""

    ARRIVED = "arrived"
    SUPERSEDED = "superseded"  # the lease has gone on since
    UNKNOWN = "unknown"


class RetainStatus(StrEnum):
    """What became of a release."""

    RETAINED = "retained"
    SUPERSEDED = "superseded"
    UNKNOWN = "unknown"


class TakeOverStatus(StrEnum):
    """What became of a lease whose holder has ended without a word."""

    MOVING = "moving"  # journal that, then have it moved
    SUPERSEDED = "superseded"  # it is not what was seen, or it is on the claim's own node
    UNKNOWN = "unknown"


class VacateStatus(StrEnum):
    """What became of a lease whose node is gone for ever."""

    PARKED = "parked"
    SUPERSEDED = "superseded"  # it is not what was seen, or not there
    UNKNOWN = "unknown"


class ExpireStatus(StrEnum):
    """What became of a lease that seemed due."""

    EXPIRED = "expired"
    KEPT = "kept"  # not due (any more): a pod came back, or it is kept for longer
    UNKNOWN = "unknown"


class ParkStatus(StrEnum):
    """What became of a lease whose ENI may leave its node."""

    PARKING = "parking"  # it is moving nowhere: the ENI is to leave
    KEPT = "kept"  # a pod came back, or its pod went a moment ago
    UNKNOWN = "unknown"


class GiveUpStatus(StrEnum):
    """What became of a person's wish to end a lease."""

    EXPIRED = "expired"
    IN_USE = "in_use"
    MOVING = "moving"
    SUPERSEDED = "superseded"  # it is not what the person saw
    UNKNOWN = "unknown"


class PolicyStatus(StrEnum):
    """What became of a person's word on how long a lease is kept."""

    SET = "set"
    MOVING = "moving"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class PutBackStatus(StrEnum):
    """What became of a lease of a backup."""

    RESTORED = "restored"
    SAME = "same"  # it is there
    LIVE = "live"  # the identity has another lease
    MOVING = "moving"
    ADDRESS_TAKEN = "address_taken"


class ForgetStatus(StrEnum):
    """What became of a lease that was handed over."""

    FORGOTTEN = "forgotten"
    SUPERSEDED = "superseded"  # it is not expired in this generation
    UNKNOWN = "unknown"  # it is gone already


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[Status]):
    """A step's answer. `is_journaled` is about the lease as it is returned."""

    status: Status
    lease: Lease | None
    is_journaled: bool
    ended: Lease | None = None  # another lease that this step ended, not yet journaled


def refusal_of(status: AcquireStatus, claim: Claim, lease: Lease | None) -> BerthError:
    """The error for a claim not granted: the reason, the numbers, what happens next."""
    who = claim.identity
    here = claim.fence.node
    if status is AcquireStatus.NO_CANDIDATE:
        return StockEmpty(f"{who} has no lease yet, and node {here} named no idle address")
    if status is AcquireStatus.POOL_FULL:
        assert claim.pool is not None
        return HolderAlive(
            f"all {claim.pool.size} addresses of {claim.pool.workload} are with pods that have"
            f" not ended: {who} waits for one of them"
        )
    if status is AcquireStatus.CANDIDATE_TAKEN:
        assert claim.candidate is not None
        return LeaseInUse(f"candidate {claim.candidate.address} is another identity's lease")
    assert lease is not None
    if status is AcquireStatus.NOMINATED_TAKEN:
        return InvalidInput.of(
            f"{NOMINATED_IP} of {who}",
            str(lease.address),
            f"an address without a lease: this one is {lease.identity}'s ({lease.state})",
        )
    if status is AcquireStatus.HOLDER_ALIVE:
        return HolderAlive(
            f"{lease.address} of {who} is bound to pod uid {lease.pod_uid} on node "
            f"{lease.node} since {lease.since:%H:%M:%S}; it waits until that pod has ended"
        )
    if status is AcquireStatus.OTHER_KIND:
        has = NetworkMode.EXCLUSIVE if lease.is_exclusive else NetworkMode.SHARED
        wants = NetworkMode.EXCLUSIVE if claim.is_exclusive else NetworkMode.SHARED
        return InvalidInput.of(
            NETWORKS,
            wants.value,
            f"{has.value}, by which {who} has {lease.address}; to change it, end that lease"
            " (berth lease release)",
        )
    if status is AcquireStatus.MOVING and lease.moving_to == NOWHERE:
        what = f"ENI {lease.eni} with {lease.address}" if lease.is_exclusive else lease.address
        return Moving(
            f"{what} of {who} is leaving node {lease.node}, whose pod went; node {here} gets it"
            " after that"
        )
    if status is AcquireStatus.MOVING:
        return Moving(
            f"{lease.address} of {who} is moving to node {lease.moving_to} since "
            f"{lease.since:%H:%M:%S}; node {here} gets it after that"
        )
    return Moving(f"the lease of {who} on {lease.address} has expired and is being taken back")


def unheard(status: str, fence: FencedBy | None) -> BerthError | None:
    """Why a request of this life of the agent is not heard; None for any other status."""
    if status == "epoch_lost":
        return EpochLost("the store was replaced or restarted: recovery runs, try again")
    if fence is None:
        return None
    if status == "stale":
        return Stale(
            f"node {fence.node}: incarnation {fence.incarnation} sequence {fence.sequence} is "
            "older than what was settled"
        )
    if status == "unregistered":
        return NotRegistered(
            f"node {fence.node}: incarnation {fence.incarnation} is not known: register again"
        )
    return None
