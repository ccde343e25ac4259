"""The cluster's record as the allocator journaled it: which subnets serve, and how."""

from __future__ import annotations

from services.eni_manager.domain.ports import ClusterSource
from shared.clusters import Cluster, ContainerSubnet, SubnetState
from shared.ids import SubnetId


class FollowedCluster:
    """Read again and again. A record that is missing is not known: the last one holds."""

    def __init__(self, source: ClusterSource) -> None:
        self._source = source
        self.current: Cluster | None = None

    async def refresh(self) -> bool:
        """Whether it has changed."""
        found = await self._source.read()
        if found is None or found == self.current:
            return False
        self.current = found
        return True

    @property
    def revision(self) -> int:
        return 0 if self.current is None else self.current.revision

    @property
    def pods_max(self) -> int | None:
        return None if self.current is None else self.current.pods_max

    def container(self) -> tuple[ContainerSubnet, ...]:
        """Every subnet that pods have addresses of."""
        if self.current is None or not self.current.is_enabled:
            return ()
        return self.current.subnets

    def closed(self) -> dict[SubnetId, SubnetState]:
        """Those of them that give no new addresses."""
        return {
            each.subnet: each.state
            for each in self.container()
            if each.state is not SubnetState.OPEN
        }

    def is_draining(self, subnet: SubnetId) -> bool:
        """Whether ENIs in it are to go: also where the record does not name it (any more)."""
        if self.current is None:
            return False
        if not self.current.is_enabled:
            return self.current.is_disabled
        known = self.current.subnet(subnet)
        return known is None or known.state is SubnetState.DRAINING

    @property
    def is_disabling(self) -> bool:
        return self.current is not None and self.current.is_disabling

    @property
    def is_disabled(self) -> bool:
        return self.current is not None and self.current.is_disabled

    @property
    def is_enabled(self) -> bool:
        return self.current is not None and self.current.is_enabled

    @property
    def why_not_enabled(self) -> str:
        if self.current is None:
            return "the cluster is not enabled: `berth enable` names its subnets"
        if self.current.is_disabling:
            return "the cluster is not enabled: it is being disabled"
        if self.current.is_disabled:
            return "the cluster is not enabled: it was disabled; `berth enable` comes first"
        if self.current.is_running:
            return "the cluster is not enabled yet: its subnets are being checked"
        return f"the cluster is not enabled: that failed: {self.current.operation.reason}"
