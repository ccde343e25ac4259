"""What the life of a cluster needs: its record, the cloud, the pods, Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.clusters import Cluster
from shared.ids import NodeName, SubnetId

from .cluster import PodInUse
from .cluster_checks import (
    KubernetesFacts,
    Look,
)


class ClusterBooks(Protocol):
    """The record, durable. Every method raises Unavailable when a book does not answer."""

    async def settle(self, known: Cluster | None) -> Cluster | None:
        """The newest record, after both places hold it; None: never enabled. `known` is the
        last that this replica read: it counts where both places were lost."""
        ...

    async def write(self, cluster: Cluster) -> bool:
        """Durable when it returns. False: it is not the revision after the newest."""
        ...


class CloudLook(Protocol):
    """What only the cloud can say, asked of the eni_manager."""

    async def look(
        self,
        subnets: Sequence[SubnetId],
        *,
        uses_of: Sequence[SubnetId] = (),
        deadline: datetime | None = None,
    ) -> Look: ...


class AgentBooks(Protocol):
    """What the agents of nodes say of their pods."""

    async def pods_on(self, node: NodeName) -> list[PodInUse]:
        """Raises Unavailable when the agent does not answer."""
        ...


class Kubernetes(Protocol):
    async def facts(self) -> KubernetesFacts | None:
        """None: the cluster names no Kubernetes."""
        ...
