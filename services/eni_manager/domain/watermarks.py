"""How many addresses a node lacks, or has too many of (pure).

The target is reached in one shot: what pods wait for, and the warm minimum above it. Cooling
addresses come back by themselves, so they count towards the minimum but not for pods that wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from .records import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    warm_min: int
    warm_max: int
    pods_max: int | None = None  # addresses of a node in all; None: the quota alone

    def __post_init__(self) -> None:
        assert 0 <= self.warm_min <= self.warm_max, "settings check this"


def lacking(demand: Demand, *, coming: int, held: int, marks: Watermarks) -> int:
    """How many addresses to assign now.

    `coming` are assigned and not yet taken by the agent; `held` is everything on the node.
    """
    soon = demand.idle + coming
    for_pods = demand.waiting - soon
    for_warmth = demand.waiting + marks.warm_min - soon - demand.cooling
    wanted = max(for_pods, for_warmth, 0)
    if marks.pods_max is not None:
        wanted = min(wanted, max(0, marks.pods_max - held))
    return wanted


def beyond_maximum(demand: Demand, *, coming: int, held: int, marks: Watermarks) -> int:
    """Pods that wait and get nothing, because the node has its maximum."""
    if marks.pods_max is None:
        return 0
    room = max(0, marks.pods_max - held)
    return max(0, demand.waiting - demand.idle - coming - room)


def excess(demand: Demand, *, coming: int, marks: Watermarks) -> int:
    """How many idle addresses to take back: down to the maximum, never while pods wait."""
    if demand.has_waiting or coming:
        return 0
    return max(0, demand.idle - marks.warm_max)
