"""Pods that name the subnets of their address: what they lack, and where it is got (pure).

They come before the others, and one nomination after the other: each plan sees what the last
one took.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from services.eni_manager.domain.placement import (
    AddEniStep,
    AssignStep,
    NodeRoom,
    plan_growth,
)
from services.eni_manager.domain.records import Demand, WaitingIn
from shared.annotations import NOMINATED_SUBNETS
from shared.cloud.words import Subnet
from shared.errors import BerthError, InvalidInput, QuotaReached, SubnetFull
from shared.ids import SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Nominated:
    """What is to be done for the first nomination that lacks something and can have it."""

    steps: tuple[AssignStep | AddEniStep, ...]
    shortages: tuple[BerthError, ...]  # of those that cannot have all they lack


def plan_nominated(
    demand: Demand,
    node: NodeRoom,
    subnets: Sequence[Subnet],
    *,
    coming: Mapping[SubnetId, int],
    left_alone: Mapping[SubnetId, str],
    addresses_left: int | None,
) -> Nominated:
    """`subnets` are all container subnets of the node's VPC; those `left_alone` refused a
    moment ago. `coming` are addresses that the agent will be offered, by subnet;
    `addresses_left` what the pod maximum leaves."""
    shortages: list[BerthError] = []
    for each in demand.waiting_in:
        lacks = each.count - each.idle - sum(coming.get(it, 0) for it in each.subnets)
        if lacks <= 0:
            continue
        wanted = lacks if addresses_left is None else min(lacks, addresses_left)
        usable = [
            it
            for it in subnets
            if it.subnet in each.subnets
            and it.zone == node.zone
            and it.subnet not in left_alone
        ]
        own = replace(node, enis=[it for it in node.enis if it.subnet in each.subnets])
        growth = plan_growth(wanted, own, usable)
        if growth.steps:
            steps = tuple(_within(step, each.subnets) for step in growth.steps)
            return Nominated(steps=steps, shortages=tuple(shortages))
        shortages.append(
            _shortage(each, lacks, wanted, node, subnets, left_alone, growth.shortage)
        )
    return Nominated(steps=(), shortages=tuple(shortages))


def _within(
    step: AssignStep | AddEniStep, subnets: Collection[SubnetId]
) -> AssignStep | AddEniStep:
    return replace(step, among=tuple(subnets)) if isinstance(step, AddEniStep) else step


def _shortage(
    waiting: WaitingIn,
    lacks: int,
    wanted: int,
    node: NodeRoom,
    subnets: Sequence[Subnet],
    left_alone: Mapping[SubnetId, str],
    shortage: BerthError | None,
) -> BerthError:
    named = ",".join(waiting.subnets)
    who = f"node {node.node} lacks {lacks} addresses of {named} for pods that name them"
    if wanted == 0:
        return QuotaReached(
            f"{who}: its pod maximum is reached; use another node or fewer pods"
        )
    known = {each.subnet: each for each in subnets}
    here = [each for each in waiting.subnets if _zone(known.get(each)) == node.zone]
    reasons = "; ".join(
        _reason(each, known.get(each), node, left_alone) for each in waiting.subnets
    )
    allowed = ", ".join(each.subnet for each in subnets if each.zone == node.zone) or "none"
    if not here:
        error = InvalidInput.of(
            NOMINATED_SUBNETS, named, f"container subnets of zone {node.zone}: {allowed}"
        )
        return InvalidInput(f"{who}: {reasons}; {error}; name one, or `berth subnet add` it")
    has_free = any(known[each].free > 0 and each not in left_alone for each in here)
    if has_free and isinstance(shortage, QuotaReached):
        return QuotaReached(
            f"{who}: {reasons}, but no ENI of the node there has room and no more can be"
            " attached, its instance's quota; use a larger instance or another node"
        )
    return SubnetFull(
        f"{who}: {reasons}; name another container subnet of zone {node.zone} ({allowed}), or"
        " release addresses"
    )


def _zone(subnet: Subnet | None) -> str | None:
    return None if subnet is None else subnet.zone


def _reason(
    named: SubnetId, subnet: Subnet | None, node: NodeRoom, left_alone: Mapping[SubnetId, str]
) -> str:
    if subnet is None:
        return f"{named} is not a container subnet of the node's VPC"
    if subnet.zone != node.zone:
        return f"{named} is in zone {subnet.zone}, the node in {node.zone}"
    if subnet.closed:
        return f"{named} is {subnet.closed}"
    if named in left_alone:
        return f"{named} is left alone for a while ({left_alone[named]})"
    return f"{named} has {subnet.free} of {subnet.total} free"
