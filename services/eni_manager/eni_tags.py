"""The tags that every ENI of ours carries from its creation: whose it is, made for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.eni_manager.domain.records import Purpose, Unclaimed, UnclaimedEni
from shared.cloud.words import Eni
from shared.ids import ClusterName, NodeName

TAG_CLUSTER: Final = "berth-cluster"
TAG_NODE: Final = "berth-node"
TAG_PURPOSE: Final = "berth-purpose"
TAG_INTENT: Final = "berth-intent"
_ENI_NAME_BYTES_MAX: Final = 60


def eni_tags(
    cluster: ClusterName, node: NodeName, purpose: Purpose, intent: str
) -> Mapping[str, str]:
    return {
        TAG_CLUSTER: cluster,
        TAG_NODE: node,
        TAG_PURPOSE: purpose,
        TAG_INTENT: intent,
    }


def reservation_tags(cluster: ClusterName) -> Mapping[str, str]:
    """Of an address that is kept for a lease."""
    return {TAG_CLUSTER: cluster}


def eni_name(node: NodeName) -> str:
    """For people who look at the cloud's console."""
    return f"berth-{node}".encode()[:_ENI_NAME_BYTES_MAX].decode(errors="ignore")


def unclaimed(eni: Eni, found: Unclaimed, *, node: NodeName | None = None) -> UnclaimedEni:
    """What people are told of an ENI that no book has."""
    return UnclaimedEni(
        eni=eni.eni,
        found=found,
        subnet=eni.subnet,
        primary_address=eni.primary_address,
        instance=eni.instance,
        node=node or eni.tags.get(TAG_NODE),
        tags=tuple(sorted(f"{key}={value}" for key, value in eni.tags.items())),
    )
