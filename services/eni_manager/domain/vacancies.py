"""What a node has and could still take, in few words for whoever places pods (pure)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from services.eni_manager.domain.records import NodeImage
from shared.ids import NodeName, SubnetId, Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class EnisWithin:
    """A node's shared ENIs in one subnet."""

    subnet: SubnetId
    enis: int
    addresses: int  # secondary ones on them
    addresses_max: int  # that fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacancy:
    """Stored as it is: a field may only be added, with a default."""

    node: NodeName
    zone: Zone | None
    enis: int  # beside the instance's own, strangers' included
    enis_max: int
    addresses: int  # of shared ENIs
    addresses_max: int  # by quota and pod maximum
    idle: int
    whole_idle: int
    within: tuple[EnisWithin, ...]
    problem: str | None
    version: int = 1


def vacancy_of(image: NodeImage, *, eni_slots: int, pods_max: int | None) -> Vacancy:
    """`eni_slots`: ENIs that may still be attached."""
    node = image.node
    fits = node.addresses_max or 0
    shared = image.secondary()
    loads = Counter(each.eni for each in image.addresses.values())
    enis = Counter(each.subnet for each in shared)
    addresses: Counter[SubnetId] = Counter()
    for each in shared:
        addresses[each.subnet] += loads[each.eni]
    quota = (len(shared) + eni_slots) * fits
    return Vacancy(
        node=node.node,
        zone=node.zone,
        enis=max(0, (node.enis_max or 0) - eni_slots),
        enis_max=node.enis_max or 0,
        addresses=addresses.total(),
        addresses_max=quota if pods_max is None else min(quota, pods_max),
        idle=node.demand.idle,
        whole_idle=node.exclusive.idle,
        within=tuple(
            EnisWithin(
                subnet=subnet,
                enis=enis[subnet],
                addresses=addresses[subnet],
                addresses_max=enis[subnet] * fits,
            )
            for subnet in sorted(enis)
        ),
        problem=node.problem,
    )
