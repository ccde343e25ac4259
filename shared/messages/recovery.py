"""``lease.backup``, ``lease.restore`` and ``cluster.recover``: for the worst days.

A backup holds each lease as the store does, page by page; a restore puts leases into a store
that has none of them; a recovery has the allocators build one book anew from the other.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, model_validator

from shared.addresses import AddressState
from shared.policies import LeasePolicy

from .base import Endpoint, IdentityFields, Message, Name, Request, ServiceName

PAGE_MAX: Final = 256  # leases of one message: half of what the bus carries
DIFFERENCES_MAX: Final = 100  # that one comparison names; the rest is counted

LeaseState = Literal[
    AddressState.BOUND_FIXED,
    AddressState.RETAINED,
    AddressState.MOVING,
    AddressState.PARKED,
    AddressState.EXPIRED,
]


class BackedUpLease(Message):
    """One fixed lease, whole; in files of backups too, so a field may only be added."""

    identity: IdentityFields
    address: IPv4Address
    state: LeaseState
    generation: Annotated[int, Field(ge=1)]
    subnet: Name
    node: Name | None = None  # where it is; None: parked
    eni: Name | None = None
    moving_to: str | None = None
    pod_uid: str | None = None
    attachment: str | None = None
    since: AwareDatetime
    expires_after: timedelta | None = None
    is_expiry_set: bool = False
    bound_generation: Annotated[int, Field(ge=1)] | None = None
    reserved_for: str | None = None
    is_exclusive: bool = False
    workload: str | None = None
    policy: LeasePolicy = LeasePolicy.NEVER

    @model_validator(mode="after")
    def _moves_somewhere(self) -> BackedUpLease:
        if (self.moving_to is not None) != (self.state is AddressState.MOVING):
            raise ValueError(f"moving_to {self.moving_to!r} in state {self.state}")
        return self


class LeaseBackupRequest(Request):
    """A page of all fixed leases, in the order of the store's cursor."""

    type: Literal["berth.v1.lease_backup_request"] = "berth.v1.lease_backup_request"
    cursor: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_MAX


class LeasesBackedUp(Message):
    """A lease that changed meanwhile may appear on two pages: the higher generation counts."""

    type: Literal["berth.v1.leases_backed_up"] = "berth.v1.leases_backed_up"
    leases: list[BackedUpLease]
    next_cursor: Annotated[int, Field(ge=0)]  # 0 after the last page


class LeaseRestoreRequest(Request):
    """Put leases of a backup into the store, each unless the store says otherwise of it."""

    type: Literal["berth.v1.lease_restore_request"] = "berth.v1.lease_restore_request"
    leases: Annotated[list[BackedUpLease], Field(max_length=PAGE_MAX)]
    is_trial: bool = False  # say what would be done, and do nothing
    replace: bool = False  # also where the identity has another lease now
    by: Name  # who asks, in their own words, for the audit


class RestoreRefusal(Message):
    """A lease that was left alone, and why."""

    identity: IdentityFields
    reason: str


class LeasesRestored(Message):
    """What was restored is durable."""

    type: Literal["berth.v1.leases_restored"] = "berth.v1.leases_restored"
    restored: Annotated[int, Field(ge=0)]
    same: Annotated[int, Field(ge=0)]  # there already, as the backup says
    refused: list[RestoreRefusal]


class Book(StrEnum):
    """Where fixed leases are written down."""

    STORE = "store"
    JOURNAL = "journal"


class RecoveryTrialRequest(Request):
    """Compare both books, lease by lease."""

    type: Literal["berth.v1.recovery_trial_request"] = "berth.v1.recovery_trial_request"


class Difference(Message):
    """A lease of which the books do not say the same."""

    identity: IdentityFields
    store: str | None  # what it is there; None: nothing
    journal: str | None


class RecoveryTried(Message):
    """What a recovery from the journal would change."""

    type: Literal["berth.v1.recovery_tried"] = "berth.v1.recovery_tried"
    leases_in_store: Annotated[int, Field(ge=0)]
    leases_in_journal: Annotated[int, Field(ge=0)]
    differing: Annotated[int, Field(ge=0)]
    differences: list[Difference]  # the first of them


class RecoverRequest(Request):
    """Open a new epoch, and build the other book anew from this one."""

    type: Literal["berth.v1.recover_request"] = "berth.v1.recover_request"
    source: Book
    by: Name  # who asks, in their own words, for the audit


class RecoveryStatusRequest(Request):
    type: Literal["berth.v1.recovery_status_request"] = "berth.v1.recovery_status_request"


class RecoveryStatus(Message):
    """How far the books are: recovery ends with a new epoch that is open."""

    type: Literal["berth.v1.recovery_status"] = "berth.v1.recovery_status"
    epoch: Annotated[int, Field(ge=0)]
    is_open: bool
    leases_in_store: Annotated[int, Field(ge=0)]


LEASE_BACKUP: Final = Endpoint(
    name="lease.backup",
    server=ServiceName.ALLOCATOR,
    request=LeaseBackupRequest,
    outcome=LeasesBackedUp,
    idempotency_key="none: it reads",
    on_timeout="ask for the same page again",
    timeout_s=10.0,
)
LEASE_RESTORE: Final = Endpoint(
    name="lease.restore",
    server=ServiceName.ALLOCATOR,
    request=LeaseRestoreRequest,
    outcome=LeasesRestored,
    idempotency_key="identity, record",
    on_timeout="maybe restored: ask again, and what is there is counted as the same",
    timeout_s=30.0,
    attempt_s=30.0,
)
RECOVERY_TRIAL: Final = Endpoint(
    name="cluster.recovery.trial",
    server=ServiceName.ALLOCATOR,
    request=RecoveryTrialRequest,
    outcome=RecoveryTried,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=120.0,
    attempt_s=120.0,
)
RECOVER: Final = Endpoint(
    name="cluster.recover",
    server=ServiceName.ALLOCATOR,
    request=RecoverRequest,
    outcome=RecoveryStatus,
    idempotency_key="none: each begins another epoch",
    on_timeout="look at the status before asking again",
    timeout_s=10.0,
    attempt_s=10.0,
)
RECOVERY_STATUS: Final = Endpoint(
    name="cluster.recovery.status",
    server=ServiceName.ALLOCATOR,
    request=RecoveryStatusRequest,
    outcome=RecoveryStatus,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=5.0,
)
