"""Another component's claims, and a cluster's pods, as its API server lists them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from berth.import_sources import ClusterObjects
from berth.imported_pods import live_pod
from berth.imports import Found
from shared.errors import NotFound, Unavailable
from shared.kubernetes.answers import list_all
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.definitions import ADDRESS, CLAIM
from shared.kubernetes.paths import PODS
from shared.kubernetes.watching import WatchGone

_TIMEOUT_S: Final = 30.0  # of one page
_LISTS_MAX: Final = 5  # a list whose pages grow too old meanwhile is begun anew

Kept = TypeVar("Kept")


async def read_cluster(kubeconfig: Path | None, *, page: int = 500) -> ClusterObjects:
    """Claims, addresses and pods of the cluster that a kubeconfig names, or of ours."""
    client = await KubernetesClient.connect(kubeconfig, timeout_s=_TIMEOUT_S)
    try:
        claims = await _list(client, CLAIM.path(), page, _of_kind(CLAIM.kind))
        try:
            addresses = await _list(client, ADDRESS.path(), page, _of_kind(ADDRESS.kind))
        except NotFound:  # a claim names its address itself, mostly
            addresses = []
        pods = [pod for pod in await _list(client, PODS, page, live_pod) if pod is not None]
        return ClusterObjects(objects=[*claims, *addresses], pods=pods)
    finally:
        await client.aclose()


async def _list(
    client: KubernetesClient, path: str, page: int, keep: Callable[[Any], Kept]
) -> list[Kept]:
    for _ in range(_LISTS_MAX):
        kept: list[Kept] = []

        def drop(found: Any, kept: list[Kept] = kept) -> dict[str, Any]:
            kept.append(keep(found))  # a whole pod is fifty times as large
            return {}

        try:
            await list_all(client.get, path, {}, drop, page=page)
        except WatchGone:
            continue
        return kept
    raise Unavailable(f"Kubernetes, {path}: its pages grow too old before they are read")


def _of_kind(kind: str) -> Callable[[Found], Found]:
    """Objects of a list do not tell their kind."""
    return lambda found: {**found, "kind": kind}
