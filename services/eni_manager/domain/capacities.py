"""How much a node keeps ready: cluster, group, node and the node's own word, merged (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from shared.capacities import CapacityWish, CloudCalls
from shared.ids import NodeName

CLUSTER_SCOPE: Final = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacities:
    """All that operators have set, by scope."""

    calls: CloudCalls = CloudCalls.ALL
    scopes: Mapping[str, CapacityWish] = field(default_factory=dict)

    def of_node(
        self, defaults: CapacityWish, node: NodeName, group: str | None, own: CapacityWish
    ) -> CapacityWish:
        """Whole: of each word the narrowest scope that says it."""
        nothing = CapacityWish()
        return _merged(
            [
                self.scopes.get(f"node/{node}", nothing),
                own,
                self.scopes.get(f"group/{group}", nothing) if group else nothing,
                self.scopes.get(CLUSTER_SCOPE, nothing),
                defaults,
            ]
        )


def _merged(said: Sequence[CapacityWish]) -> CapacityWish:
    low = _first([each.warm_min for each in said]) or 0
    high = _first([each.warm_max for each in said]) or 0
    every_s = next((it.release_every_s for it in said if it.release_every_s is not None), 0.0)
    merged = CapacityWish(warm_min=low, warm_max=high, release_every_s=every_s)
    if low <= high:
        return merged
    # Two scopes that do not agree: the narrower one's word counts.
    narrowest = next(it for it in said if it.warm_min is not None or it.warm_max is not None)
    if narrowest.warm_min is not None:
        return replace(merged, warm_max=low)
    return replace(merged, warm_min=high)


def _first(values: Sequence[int | None]) -> int | None:
    return next((each for each in values if each is not None), None)
