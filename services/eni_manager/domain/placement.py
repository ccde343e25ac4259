"""Where addresses come from: which ENI first, which subnet for the next ENI (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.cloud.words import Subnet
from shared.errors import BerthError, NoSubnetInZone, QuotaReached, SubnetFull
from shared.ids import EniId, NodeName, SubnetId, Zone

from .watermarks import Watermarks


@dataclass(frozen=True, slots=True, kw_only=True)
class EniRoom:
    eni: EniId
    subnet: SubnetId
    room: int  # secondary addresses that still fit


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRoom:
    """What a node may still take."""

    node: NodeName
    zone: Zone
    enis: Sequence[EniRoom]
    eni_slots: int  # ENIs that may still be attached
    addresses_max: int  # secondary ones per ENI


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignStep:
    eni: EniId
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddEniStep:
    subnet: SubnetId
    count: int  # secondary addresses that it is made with
    among: tuple[SubnetId, ...] = ()  # whichever of these has most left by then; (): of any


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    steps: tuple[AssignStep | AddEniStep, ...]
    shortage: BerthError | None  # why not all that was wanted can be had


def plan_growth(wanted: int, node: NodeRoom, subnets: Sequence[Subnet]) -> Growth:
    """Fill the fullest ENIs first, then add ENIs in the subnet with most free addresses."""
    free = {each.subnet: each.free for each in subnets}
    steps: list[AssignStep | AddEniStep] = []
    left = wanted
    for each in sorted(node.enis, key=lambda it: (it.room, it.eni)):
        count = min(left, each.room, free.get(each.subnet, 0))
        if count > 0:
            steps.append(AssignStep(eni=each.eni, count=count))
            free[each.subnet] -= count
            left -= count

    slots = node.eni_slots
    while left > 0 and slots > 0 and node.addresses_max > 0:
        subnet = max(free, key=lambda it: (free[it], it), default=None)
        if subnet is None or free[subnet] < 2:  # its primary address, and one for a pod
            break
        count = min(left, node.addresses_max, free[subnet] - 1)
        steps.append(AddEniStep(subnet=subnet, count=count))
        free[subnet] -= count + 1
        left -= count
        slots -= 1
    if not left:
        return Growth(steps=tuple(steps), shortage=None)
    room = sum(each.room for each in node.enis)
    room += node.addresses_max * (node.eni_slots - slots) - (wanted - left)
    is_quota = room <= 0 and slots == 0
    shortage = _quota_reached(left, node) if is_quota else _subnets_full(left, node, subnets)
    return Growth(steps=tuple(steps), shortage=shortage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a node may have, and what it could still be given now."""

    addresses_max: int
    addresses_free: int
    enis_max: int
    enis_free: int


def capacity(
    node: NodeRoom,
    subnets: Sequence[Subnet],
    *,
    enis_max: int,
    held: int,
    pods_max: int | None,
) -> Capacity:
    """Quota, pod maximum and what the subnets have free, taken together.

    `enis_max` may be attached in all; `held` addresses are on the node's ENIs already.
    """
    quota = held + sum(each.room for each in node.enis) + node.eni_slots * node.addresses_max
    addresses_max = quota if pods_max is None else min(quota, pods_max)
    growth = plan_growth(max(0, addresses_max - held), node, subnets)
    return Capacity(
        addresses_max=addresses_max,
        addresses_free=sum(step.count for step in growth.steps),
        enis_max=enis_max,
        enis_free=min(node.eni_slots, sum(each.free for each in subnets)),
    )


def _quota_reached(left: int, node: NodeRoom) -> QuotaReached:
    return QuotaReached(
        f"node {node.node} lacks {left} addresses: all of its {len(node.enis) + node.eni_slots}"
        f" ENIs with {node.addresses_max} addresses each are in use, its instance's quota;"
        " use a larger instance or fewer pods"
    )


def maximum_reached(left: int, node: NodeName, marks: Watermarks) -> QuotaReached:
    return QuotaReached(
        f"node {node} lacks {left} addresses: it has {marks.pods_max}, the pod maximum of the"
        " cluster's nodes, retained ones among them; use more nodes or fewer pods"
    )


def _subnets_full(left: int, node: NodeRoom, subnets: Sequence[Subnet]) -> SubnetFull:
    shown = ", ".join(
        f"{each.subnet} is {each.closed}"
        if each.closed
        else f"{each.subnet} has {each.free} of {each.total} free"
        for each in subnets
    )
    return SubnetFull(
        f"node {node.node} lacks {left} addresses: zone {node.zone} has none left ({shown});"
        " add a subnet to the zone or release addresses"
    )


def subnets_of_zone(
    node: NodeName, zone: Zone, subnets: Sequence[Subnet]
) -> tuple[Subnet, ...]:
    """Raises NoSubnetInZone when none of the container subnets is in the node's zone."""
    found = tuple(each for each in subnets if each.zone == zone)
    if not found:
        zones = ", ".join(sorted({each.zone for each in subnets})) or "none"
        raise NoSubnetInZone(
            f"node {node} is in zone {zone}, which has no container subnet; zones that have"
            f" one: {zones}; `berth subnet add` a subnet of {zone}"
        )
    return found
