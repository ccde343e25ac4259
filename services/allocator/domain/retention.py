"""Whether a lease whose pod went is to end, by what the cluster says of its workload (pure).

A lease ends by its span only when no pod of its name exists: one that is on its way would find
its address gone. Unknown is never "gone": such a lease waits, and says what it waits for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.ids import PodName, WorkloadName
from shared.policies import LeasePolicy

from .leases import Lease


class Presence(StrEnum):
    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSight:
    """A workload as the cluster shows it."""

    presence: Presence
    pods_max: int | None = None  # at once; None: not known
    ordinals: range | None = None  # of its pods' names, if those have any
    detail: str = ""  # why it is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Sights:
    """What was found for the questions of `questions_of`."""

    pods: Mapping[PodName, Presence]
    workloads: Mapping[WorkloadName, WorkloadSight]


class Verdict(StrEnum):
    EXPIRE = "expire"  # its span is over
    END = "end"  # its workload no longer wants it
    KEEP = "keep"
    UNKNOWN = "unknown"  # kept as well, until more is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    verdict: Verdict
    reason: str


def workload_of(lease: Lease) -> WorkloadName | None:
    """What made the pods of a lease, as far as is known."""
    if lease.identity.slot_workload is not None:
        return lease.identity.slot_workload
    if lease.workload is None:
        return None
    return WorkloadName.from_local(lease.identity.namespace, lease.workload)


def questions_of(
    leases: Collection[Lease], by: datetime
) -> tuple[set[PodName], set[WorkloadName]]:
    """Whose presence decides: only what matters is asked."""
    pods, workloads = set[PodName](), set[WorkloadName]()
    for lease in leases:
        pod, workload = lease.identity.pod, workload_of(lease)
        if pod is not None and lease.policy is not LeasePolicy.IMMEDIATE:
            pods.add(pod)
        if workload is not None and lease.policy.follows_workload and not _is_over(lease, by):
            workloads.add(workload)
    return pods, workloads


def judge(lease: Lease, by: datetime, sights: Sights) -> Judgement:
    """What becomes of a retained lease that is looked at."""
    if lease.policy is LeasePolicy.IMMEDIATE:
        return Judgement(verdict=Verdict.EXPIRE, reason="it ends with its pod")
    is_over = _is_over(lease, by)
    wish = (
        Judgement(verdict=Verdict.EXPIRE, reason="kept for as long as it is kept")
        if is_over
        else _by_workload(lease, sights)
    )
    pod = lease.identity.pod
    if wish.verdict in (Verdict.KEEP, Verdict.UNKNOWN) or pod is None:
        return wish
    match sights.pods.get(pod, Presence.UNKNOWN):
        case Presence.ABSENT:
            return wish
        case Presence.PRESENT:
            return Judgement(verdict=Verdict.KEEP, reason=f"pod {pod} exists again")
    return Judgement(verdict=Verdict.UNKNOWN, reason=f"whether pod {pod} exists is not known")


def _is_over(lease: Lease, by: datetime) -> bool:
    return lease.expires_at is not None and lease.expires_at <= by


def _by_workload(lease: Lease, sights: Sights) -> Judgement:
    workload = workload_of(lease)
    if workload is None or not lease.policy.follows_workload:
        return Judgement(verdict=Verdict.KEEP, reason="nothing but a person ends it yet")
    sight = sights.workloads.get(workload, WorkloadSight(presence=Presence.UNKNOWN))
    if sight.presence is Presence.UNKNOWN:
        return Judgement(
            verdict=Verdict.UNKNOWN,
            reason=f"whether {workload} exists is not known: {sight.detail or 'no answer'}",
        )
    if sight.presence is Presence.ABSENT:
        return Judgement(verdict=Verdict.END, reason=f"{workload} is gone")
    if lease.policy is LeasePolicy.SCALE_DOWN and not _has_room(lease, sight):
        return Judgement(verdict=Verdict.END, reason=f"{workload} was scaled below it")
    return Judgement(verdict=Verdict.KEEP, reason=f"{workload} is there")


def _has_room(lease: Lease, sight: WorkloadSight) -> bool:
    """Whether the workload may still have a pod for it; what is not known counts as room."""
    digits = lease.identity.name.rpartition("#" if lease.identity.pod is None else "-")[2]
    if not digits.isdecimal():
        return True
    number = int(digits)
    if lease.identity.pod is None:
        return sight.pods_max is None or number < sight.pods_max
    return sight.ordinals is None or number in sight.ordinals
