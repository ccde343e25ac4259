"""How much a node keeps ready: cluster, group, node and the node's own word, merged (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from shared.capacities import CapacityWish, CloudCalls
from shared.errors import InvalidInput
from shared.ids import NodeName

from .records import NodeRecord

CLUSTER_SCOPE: Final = "cluster"
ANNOTATED: Final = "annotation/"


def annotation_scope(node: NodeName) -> str:
    """What the annotations of a node's Kubernetes objects say."""
    return f"{ANNOTATED}{node}"


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
                self.scopes.get(annotation_scope(node), nothing),
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
    merged = CapacityWish(
        warm_min=low,
        warm_max=high,
        release_every_s=every_s,
        whole_min=_first([each.whole_min for each in said]),
        whole_max=_first([each.whole_max for each in said]),
        is_unmanaged=any(each.is_unmanaged for each in said) or None,
        enis_max=_first([each.enis_max for each in said]),
        addresses_per_eni_max=_first([each.addresses_per_eni_max for each in said]),
        has_no_groups=any(each.has_no_groups for each in said) or None,
    )
    if low <= high:
        return merged
    # Two scopes that do not agree: the narrower one's word counts.
    narrowest = next(it for it in said if it.warm_min is not None or it.warm_max is not None)
    if narrowest.warm_min is not None:
        return replace(merged, warm_max=low)
    return replace(merged, warm_min=high)


def _first(values: Sequence[int | None]) -> int | None:
    return next((each for each in values if each is not None), None)


def check_quota(scope: str, wish: CapacityWish, nodes: Sequence[NodeRecord]) -> None:
    """Raises InvalidInput for more than the one node that a scope names can have. Wider scopes
    hold for nodes of every size: one that is too small says so itself."""
    node = next((each for each in nodes if scope == f"node/{each.node}"), None)
    if node is None or node.enis_max is None or node.addresses_max is None:
        return
    most = node.enis_max * node.addresses_max
    for name, value in (("warm_min", wish.warm_min), ("warm_max", wish.warm_max)):
        if value is not None and value > most:
            raise InvalidInput.of(
                name,
                value,
                f"0 to {most}, the quota of instance {node.instance}: {node.enis_max} ENIs with"
                f" {node.addresses_max} addresses each",
            )
