"""Which pod runs on which node (pure): a small scheduler that keeps the rules of fixed IPs.

A fixed-IP pod stays in the zone of its subnet, so all of a workload's go to one zone, the one
with most nodes, turn by turn: two nodes and three pods give a pair on one node and a pair
across. The others are spread over all nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from berth.manifests.pods import PodSpec
from shared.annotations import DeletePolicy
from shared.errors import Refused
from shared.ids import NodeName, Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node, as far as placement cares."""

    node: NodeName
    zone: Zone


def home_zone(places: Sequence[Place]) -> Zone:
    """The zone with most nodes, the first named of several."""
    counted = Counter(place.zone for place in places)
    return max(counted, key=lambda zone: counted[zone])


def place_pods(pods: Sequence[PodSpec], places: Sequence[Place]) -> list[tuple[PodSpec, Place]]:
    """Every pod with its node, in the order of the pods."""
    assert places, "a topology holds at least one node"
    at_home = cycle(home_places(places))
    anywhere = cycle(places)
    return [(pod, next(at_home if is_fixed(pod) else anywhere)) for pod in pods]


def home_places(places: Sequence[Place]) -> list[Place]:
    """The nodes of the zone with most nodes: where a fixed pod may run."""
    zone = home_zone(places)
    return [place for place in places if place.zone == zone]


def another_node(place: Place, places: Sequence[Place]) -> Place:
    """Another node of the same zone. Raises Refused when there is none."""
    for other in places:
        if other.zone == place.zone and other.node != place.node:
            return other
    raise Refused(
        f"zone {place.zone} has no node but {place.node}: a fixed-IP pod cannot leave its zone"
    )


def is_fixed(pod: PodSpec) -> bool:
    return pod.network.policy is DeletePolicy.NEVER
