"""What a cluster was enabled with, and its container subnets: words that two services share.

The allocator keeps this record, in the store and in the journal; the eni_manager reads it and
acts on it. Stored as it is: version N reads N-1, so a field may only be added, with a default.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from shared.annotations import NetworkMode
from shared.ids import SubnetId

CLUSTER_VERSION: Final = 1


class SubnetState(StrEnum):
    """What may be taken from a container subnet."""

    OPEN = "open"
    CORDONED = "cordoned"  # no new addresses from it; what is there stays
    DRAINING = "draining"  # idle addresses go back, and ENIs in it once they are empty


class Verb(StrEnum):
    """What is done to a cluster as a whole."""

    ENABLE = "enable"
    DISABLE = "disable"


class Progress(StrEnum):
    """How far a verb has come, in the words of TKE's own API."""

    RUNNING = "Running"
    SUCCEED = "Succeed"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSubnet:
    """A subnet that pods get addresses of."""

    subnet: SubnetId
    state: SubnetState = SubnetState.OPEN
    since: datetime  # of the state
    reclaims_under_pressure: bool = False  # the oldest retained lease ends when it is full


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The last enabling or disabling: how far it is, and what it waits for or failed of."""

    verb: Verb
    progress: Progress
    step: str
    done: int = 0
    total: int = 0
    code: str | None = None  # of the failure
    reason: str | None = None
    notes: tuple[str, ...] = ()  # what was found on the way and forbids nothing
    ends_retained: bool = False  # disabling: retained leases may be ended
    by: str
    began_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The record. `revision` rises with every change: the higher one is the newer."""

    revision: int
    modes: tuple[NetworkMode, ...]
    has_fixed_ips: bool
    pods_max: int  # per node
    subnets: tuple[ContainerSubnet, ...]
    operation: Operation
    is_enabled: bool = False  # nodes get addresses
    was_enabled: bool = False  # since then what cannot change later is settled
    version: int = CLUSTER_VERSION

    def subnet(self, subnet: str) -> ContainerSubnet | None:
        return next((each for each in self.subnets if each.subnet == subnet), None)

    @property
    def is_running(self) -> bool:
        return self.operation.progress is Progress.RUNNING

    @property
    def is_disabling(self) -> bool:
        return self.operation.verb is Verb.DISABLE and self.is_running

    @property
    def is_disabled(self) -> bool:
        """Disabled, or about to be: an enabling that has not come to its end is not."""
        return self.operation.verb is Verb.DISABLE and not self.is_enabled
