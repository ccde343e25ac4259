"""Whether a node can take what the cluster was enabled with (pure)."""

from __future__ import annotations

from services.eni_manager.domain.records import NodeRecord
from shared.annotations import NetworkMode
from shared.clusters import Cluster


def quota_warning(node: NodeRecord, cluster: Cluster | None) -> str | None:
    """Why it takes fewer pods than the cluster's maximum, if so: it is served all the same."""
    if cluster is None or node.enis_max is None or node.addresses_max is None:
        return None
    is_shared = NetworkMode.SHARED in cluster.modes
    fitting = node.enis_max * node.addresses_max if is_shared else node.enis_max
    if fitting >= cluster.pods_max:
        return None
    each = f" with {node.addresses_max} addresses each" if is_shared else ""
    return (
        f"node {node.node} takes {fitting} pods, below the cluster's maximum of"
        f" {cluster.pods_max} per node: the quota of instance {node.instance} is"
        f" {node.enis_max} ENIs{each}; use a larger instance, or schedule fewer pods on it"
    )
