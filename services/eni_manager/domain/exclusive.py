"""ENIs that one pod has as a whole: in which subnets the next ones are made (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.cloud.words import Subnet
from shared.errors import BerthError, QuotaReached, SubnetFull
from shared.ids import NodeName, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeGrowth:
    subnets: tuple[SubnetId, ...]  # one ENI is made in each
    shortage: BerthError | None  # why not all that was wanted can be had


def plan_whole(
    wanted: int, node: NodeName, *, slots: int, enis_max: int, subnets: Sequence[Subnet]
) -> WholeGrowth:
    """Each in the subnet with most free addresses at that moment."""
    free = {each.subnet: each.free for each in subnets}
    chosen: list[SubnetId] = []
    while len(chosen) < min(wanted, slots):
        subnet = max(free, key=lambda it: (free[it], it), default=None)
        if subnet is None or free[subnet] < 1:
            return WholeGrowth(subnets=tuple(chosen), shortage=_full(node, subnets))
        free[subnet] -= 1
        chosen.append(subnet)
    left = wanted - len(chosen)
    shortage = _quota_reached(node, left, enis_max) if left > 0 else None
    return WholeGrowth(subnets=tuple(chosen), shortage=shortage)


def _quota_reached(node: NodeName, left: int, enis_max: int) -> QuotaReached:
    return QuotaReached(
        f"node {node} lacks {left} ENIs for pods that have one of their own: all {enis_max}"
        " that its instance may have beside its own are in use; use a larger instance or fewer"
        " such pods"
    )


def _full(node: NodeName, subnets: Sequence[Subnet]) -> SubnetFull:
    shown = ", ".join(f"{each.subnet} has {each.free} of {each.total} free" for each in subnets)
    return SubnetFull(
        f"node {node} lacks an ENI for a pod of its own: no subnet of its zone has an address"
        f" left ({shown}); add a subnet to the zone or release addresses"
    )
