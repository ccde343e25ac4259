"""How much nodes keep ready, and which cloud calls are made: words that services share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CloudCalls(StrEnum):
    """What the eni_managers may do at the cloud."""

    ALL = "all"
    NO_RELEASE = "no_release"  # assign, but never unassign, detach or delete
    NONE = "none"  # no call at all: stock that is there goes on serving pods


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityWish:
    """What one scope says; None: nothing. Stored as it is: a field may only be added."""

    warm_min: int | None = None
    warm_max: int | None = None
    release_every_s: float | None = None  # one idle address above the maximum; 0: all at once
    whole_min: int | None = None  # of ENIs that wait for a pod of their own
    whole_max: int | None = None
    is_unmanaged: bool | None = None  # nothing is called for the node
    enis_max: int | None = None  # ENIs of ours on the node, below its instance's quota
    addresses_per_eni_max: int | None = None  # secondary ones, below the quota, too
    has_no_groups: bool | None = None  # its ENIs have no security group
