"""The stored shape of a cluster's record: one JSON document, in the store and in the journal.

The store holds it under ``lease:cluster``, the journal under the subject ``journal.cluster``.
"""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter, ValidationError

from shared.clusters import CLUSTER_VERSION, Cluster
from shared.errors import Unavailable

CLUSTER_NOUN: Final = "cluster"
_CLUSTER: Final = TypeAdapter(Cluster)


def encode_cluster(cluster: Cluster) -> str:
    return _CLUSTER.dump_json(cluster, exclude_none=True).decode()


def decode_cluster(body: bytes | str) -> Cluster:
    """Raises Unavailable for what this version cannot read: a newer one can."""
    try:
        cluster = _CLUSTER.validate_json(body)
    except ValidationError as error:
        raise Unavailable(f"the cluster's record: of unknown shape: {error}") from error
    if not 1 <= cluster.version <= CLUSTER_VERSION:
        raise Unavailable(
            f"the cluster's record: version {cluster.version} is not known here; up to"
            f" {CLUSTER_VERSION} is: update this service"
        )
    return cluster
