"""Enabling and disabling a cluster: what may be asked when, what can never change (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from shared.annotations import NetworkMode
from shared.clusters import Cluster, ContainerSubnet, Operation, Progress, Verb
from shared.errors import (
    BerthError,
    CannotChange,
    ClusterChanging,
    ClusterNotEnabled,
    FixedIpNotSupported,
    InvalidInput,
    LeasesRetained,
    PodsExist,
)
from shared.ids import Identity, NodeName, SubnetId

PODS_SHOWN_MAX: Final = 20

CHECKING: Final = "checking Kubernetes and the subnets"
OPENING: Final = "opening the subnets to the nodes"
ENABLED: Final = "nodes get addresses"
ENDING_LEASES: Final = "ending the leases of pods that are away"
DETACHING: Final = "detaching and deleting the ENIs"
DISABLED: Final = "nothing of ours is left at the cloud"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person names when enabling."""

    modes: tuple[NetworkMode, ...]
    subnets: tuple[SubnetId, ...]
    has_fixed_ips: bool
    pods_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInUse:
    """A pod that has one of our addresses."""

    pod: str
    node: NodeName

    @classmethod
    def of(cls, identity: Identity, node: NodeName) -> PodInUse:
        return cls(pod=f"{identity.namespace}/{identity.name}", node=node)


def begin_enable(current: Cluster | None, wanted: Wanted, *, by: str, now: datetime) -> Cluster:
    """The record with the enabling under way; the same one when there is nothing to do."""
    _check_wanted(wanted)
    if current is not None and current.is_disabling:
        raise ClusterChanging(
            f"the cluster is being disabled since {current.operation.began_at:%H:%M:%S}:"
            f" {current.operation.step}; enable it after that"
        )
    if current is not None and current.was_enabled:
        return _again(current, wanted, by=by, now=now)
    if current is not None and current.is_running:
        if _wanted_of(current) != _normal(wanted):
            raise ClusterChanging(
                f"the cluster is being enabled with other words by {current.operation.by}"
                f" ({current.operation.step}): wait for its end, or `berth disable`"
            )
        return current
    return Cluster(
        revision=1 if current is None else current.revision + 1,
        modes=_normal(wanted).modes,
        has_fixed_ips=wanted.has_fixed_ips,
        pods_max=wanted.pods_max,
        subnets=tuple(ContainerSubnet(subnet=each, since=now) for each in wanted.subnets),
        operation=_began(Verb.ENABLE, CHECKING, total=2, by=by, now=now),
    )


def _again(current: Cluster, wanted: Wanted, *, by: str, now: datetime) -> Cluster:
    """Enabled before: what is settled stays, what may grow grows."""
    check_unchanged("fixed-IP support", current.has_fixed_ips, wanted.has_fixed_ips)
    check_unchanged("the pod maximum per node", current.pods_max, wanted.pods_max)
    if dropped := set(current.modes) - set(wanted.modes):
        raise CannotChange(
            f"modes: {', '.join(sorted(wanted.modes))} lacks {', '.join(sorted(dropped))},"
            " which the cluster was enabled with; a mode can be added, not dropped"
        )
    known = {each.subnet for each in current.subnets}
    if known != set(wanted.subnets):
        raise InvalidInput.of(
            "subnets",
            ", ".join(sorted(wanted.subnets)),
            f"those that the cluster has ({', '.join(sorted(known))}); change them by `berth"
            " subnet add`, `drain` and `remove`",
        )
    is_same = set(current.modes) == set(wanted.modes)
    is_whole = current.operation.verb is Verb.ENABLE and (
        current.operation.progress is not Progress.FAILED
    )
    if is_same and is_whole:
        return current
    return replace(
        current,
        revision=current.revision + 1,
        modes=_normal(wanted).modes,
        operation=_began(Verb.ENABLE, CHECKING, total=2, by=by, now=now),
    )


def check_unchanged(what: str, settled: object, wanted: object) -> None:
    """Raises CannotChange, which names both values."""
    if settled != wanted:
        raise CannotChange(
            f"{what} is {_word(settled)} since the cluster was enabled and cannot become"
            f" {_word(wanted)}: disable the cluster first, or keep {_word(settled)}"
        )


def begin_disable(
    current: Cluster | None,
    pods: Sequence[PodInUse],
    retained: int,
    *,
    ends_retained: bool,
    by: str,
    now: datetime,
) -> Cluster:
    """The record with the disabling under way; the same one when there is nothing to do."""
    if current is None:
        raise ClusterNotEnabled("the cluster was never enabled: there is nothing to disable")
    if current.is_disabled and not current.is_running:
        return current
    if current.is_disabling and (current.operation.ends_retained or not ends_retained):
        return current
    check_no_pods(pods)
    if retained and not ends_retained:
        raise LeasesRetained(
            f"{retained} leases of pods that are away would end, and their addresses be lost:"
            " add --end-retained if that is meant"
        )
    began = _began(Verb.DISABLE, ENDING_LEASES, total=retained, by=by, now=now)
    return replace(
        current,
        revision=current.revision + 1,
        is_enabled=False,
        operation=replace(began, ends_retained=ends_retained),
    )


def check_no_pods(pods: Sequence[PodInUse]) -> None:
    if not pods:
        return
    shown = ", ".join(f"{each.pod} on {each.node}" for each in pods[:PODS_SHOWN_MAX])
    more = f" and {len(pods) - PODS_SHOWN_MAX} more" if len(pods) > PODS_SHOWN_MAX else ""
    raise PodsExist(
        f"{len(pods)} pods use addresses of this cluster: {shown}{more}; delete them first"
    )


def check_fixed(current: Cluster | None, identity: Identity) -> None:
    """Whether a pod may keep its address here. A cluster without a record has no stock either,
    so nothing is refused on a record that is not there (yet)."""
    if current is None:
        return
    if current.is_disabled:
        raise ClusterNotEnabled(
            f"{identity}: the cluster is {_disabled(current)}; `berth enable` comes first"
        )
    if not current.has_fixed_ips:
        raise FixedIpNotSupported(
            f"{identity}: vpc-ip-claim-delete-policy Never is not supported, nor is"
            " nominated-vpc-ip: the cluster was enabled without fixed IPs, which cannot change"
            " later; use Immediate, and nominate no address"
        )


def _disabled(current: Cluster) -> str:
    return "being disabled" if current.is_running else "disabled"


def went_on(
    current: Cluster, step: str, done: int, total: int, reason: str | None, *, now: datetime
) -> Cluster:
    """How far it is and what it waits for; the same record when that is known."""
    moved = replace(current.operation, step=step, done=done, total=total, reason=reason)
    if moved == current.operation:
        return current
    return replace(
        current, revision=current.revision + 1, operation=replace(moved, changed_at=now)
    )


def waits(current: Cluster, reason: str, *, now: datetime) -> Cluster:
    """At the same step, for a reason."""
    at = current.operation
    return went_on(current, at.step, at.done, at.total, reason, now=now)


def opened(current: Cluster, notes: Sequence[str], *, now: datetime) -> Cluster:
    """Checked: nodes may have addresses."""
    operation = replace(
        current.operation,
        step=OPENING,
        done=1,
        reason=None,
        notes=tuple(notes),
        changed_at=now,
    )
    return replace(
        current,
        revision=current.revision + 1,
        is_enabled=True,
        was_enabled=True,
        operation=operation,
    )


def succeeded(current: Cluster, *, now: datetime) -> Cluster:
    operation = current.operation
    is_enable = operation.verb is Verb.ENABLE
    done = replace(
        operation,
        progress=Progress.SUCCEED,
        step=ENABLED if is_enable else DISABLED,
        done=operation.total,
        code=None,
        reason=None,
        changed_at=now,
    )
    ended = replace(current, revision=current.revision + 1, operation=done)
    if is_enable:
        return ended
    return replace(ended, subnets=(), was_enabled=False)


def failed(current: Cluster, error: BerthError, *, now: datetime) -> Cluster:
    """It stands as before: an enabling that fails has opened nothing, and a disabling that
    fails leaves the cluster enabled."""
    operation = replace(
        current.operation,
        progress=Progress.FAILED,
        code=error.code.value,
        reason=str(error),
        changed_at=now,
    )
    return replace(
        current,
        revision=current.revision + 1,
        is_enabled=current.was_enabled,
        operation=operation,
    )


def _check_wanted(wanted: Wanted) -> None:
    twice = sorted({each for each in wanted.subnets if wanted.subnets.count(each) > 1})
    if twice:
        raise InvalidInput.of("subnets", ", ".join(twice), "each subnet once")
    if not wanted.subnets or not wanted.modes:
        raise InvalidInput.of("subnets and modes", "none", "at least one of each")


def _wanted_of(current: Cluster) -> Wanted:
    return _normal(
        Wanted(
            modes=current.modes,
            subnets=tuple(each.subnet for each in current.subnets),
            has_fixed_ips=current.has_fixed_ips,
            pods_max=current.pods_max,
        )
    )


def _normal(wanted: Wanted) -> Wanted:
    return replace(
        wanted,
        modes=tuple(sorted(set(wanted.modes))),
        subnets=tuple(sorted(wanted.subnets)),
    )


def _began(verb: Verb, step: str, *, total: int, by: str, now: datetime) -> Operation:
    return Operation(
        verb=verb,
        progress=Progress.RUNNING,
        step=step,
        total=total,
        by=by,
        began_at=now,
        changed_at=now,
    )


def _word(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
