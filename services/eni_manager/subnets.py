"""The container subnets as the cloud last told of them, with what they have free."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from services.eni_manager.followed_cluster import FollowedCluster
from shared.cloud.errors import CloudAway
from shared.cloud.port import CloudApi
from shared.cloud.words import Subnet
from shared.errors import ClusterNotEnabled, WrongVpc
from shared.ids import SubnetId, VpcId
from shared.telemetry.metrics import SUBNET_FREE_ADDRESSES


class SubnetBook:
    """Container subnets by id; any other subnet is described when it is first asked for."""

    def __init__(self, cloud: CloudApi, cluster: FollowedCluster) -> None:
        self._cloud = cloud
        self._cluster = cluster
        self._known: dict[SubnetId, Subnet] = {}
        self._was_told = False
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        async with self._refreshing:
            found = await self._cloud.describe_subnets(
                list(dict.fromkeys((*self._named(), *self._known)))
            )
            self._known = {each.subnet: each for each in found}
            self._was_told = True
        for each in self.container():
            SUBNET_FREE_ADDRESSES.labels(each.subnet).set(each.free)

    async def ensure(self) -> None:
        """Have asked the cloud at least once: before that nothing can be said of a zone."""
        if not self._was_told:
            await self.refresh()

    def container(self) -> list[Subnet]:
        """Those that pods may have addresses of."""
        return [self._known[each] for each in self._named() if each in self._known]

    def missing(self) -> list[SubnetId]:
        """The cluster's, and not at the cloud."""
        return [each for each in self._named() if each not in self._known]

    def in_vpc(self, vpc: VpcId) -> list[Subnet]:
        """The container subnets as a node of this VPC may use them: closed ones have nothing
        free for it. Raises ClusterNotEnabled, WrongVpc."""
        if not self._cluster.is_enabled:
            raise ClusterNotEnabled(self._cluster.why_not_enabled)
        container = self.container()
        found = [each for each in container if each.vpc == vpc]
        if container and not found:
            others = ", ".join(sorted({each.vpc for each in container}))
            raise WrongVpc(
                f"the node is in {vpc}, the container subnets are in {others}: a node gets"
                " addresses only from subnets of its own VPC"
            )
        closed = self._cluster.closed()
        return [
            replace(each, free=0, closed=closed[each.subnet]) if each.subnet in closed else each
            for each in found
        ]

    def _named(self) -> list[SubnetId]:
        return [each.subnet for each in self._cluster.container()]

    async def get(self, subnet: SubnetId) -> Subnet:
        if subnet not in self._known:
            for each in await self._cloud.describe_subnets([subnet]):
                self._known[each.subnet] = each
        if subnet not in self._known:
            raise CloudAway("DescribeSubnets", "ResourceNotFound", f"no subnet {subnet}")
        return self._known[subnet]

    def find(self, subnet: SubnetId) -> Subnet | None:
        return self._known.get(subnet)

    def took(self, subnet: SubnetId, count: int) -> None:
        """Addresses were assigned: count them off until the cloud is asked again."""
        if known := self._known.get(subnet):
            self._known[subnet] = Subnet(
                subnet=known.subnet,
                vpc=known.vpc,
                zone=known.zone,
                cidr=known.cidr,
                free=max(0, known.free - count),
                total=known.total,
            )
