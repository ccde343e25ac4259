"""The container subnets as the cloud last told of them, with what they have free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from services.eni_manager.domain.breakers import Breaker
from services.eni_manager.domain.exhaustion import Decline
from services.eni_manager.domain.ports import Headroom
from services.eni_manager.followed_cluster import FollowedCluster
from shared.clock import Clock
from shared.cloud.errors import CloudAway, CloudError
from shared.cloud.port import CloudApi
from shared.cloud.words import Subnet
from shared.errors import ClusterNotEnabled, WrongVpc
from shared.ids import SubnetId, VpcId
from shared.telemetry.metrics import SUBNET_FREE_ADDRESSES, SUBNET_LASTS_SECONDS

log = logging.getLogger(__name__)

# Many nodes find a subnet full at one moment: one look serves them all.
_FRESH_S: Final = 1.0


class SubnetBook:
    """Container subnets by id; any other subnet is described when it is first asked for."""

    def __init__(
        self, cloud: CloudApi, cluster: FollowedCluster, headroom: Headroom, clock: Clock
    ) -> None:
        self._cloud = cloud
        self._cluster = cluster
        self._headroom = headroom
        self._clock = clock
        self._breakers: dict[SubnetId, Breaker] = {}
        self._declines: dict[SubnetId, Decline] = {}
        self._fresh_until_s = 0.0
        self._known: dict[SubnetId, Subnet] = {}
        self._was_told = False
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        async with self._refreshing:
            await self._refresh()
        now_s = self._clock.monotonic_s()
        for each in self.container():
            before = self._declines.get(each.subnet, Decline(free=each.free, at_s=now_s))
            self._declines[each.subnet] = before.seen(each.free, now_s)
            SUBNET_FREE_ADDRESSES.labels(each.subnet).set(each.free)
            SUBNET_LASTS_SECONDS.labels(each.subnet).set(self._declines[each.subnet].lasts_s)

    async def refresh_soon(self) -> None:
        """As `refresh`, unless the cloud was asked a moment ago."""
        async with self._refreshing:
            if self._clock.monotonic_s() >= self._fresh_until_s:
                await self._refresh()

    async def ensure(self) -> None:
        """Have asked the cloud at least once: before that nothing can be said of a zone."""
        if not self._was_told:
            await self.refresh_soon()

    async def _refresh(self) -> None:
        asked_ms = await self._headroom.moment_ms()
        found = await self._cloud.describe_subnets(
            list(dict.fromkeys((*self._named(), *self._known)))
        )
        await self._headroom.tell({each.subnet: each.free for each in found}, asked_ms=asked_ms)
        self._known = {each.subnet: each for each in found}
        self._was_told = True
        self._fresh_until_s = self._clock.monotonic_s() + _FRESH_S

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
            asked_ms = await self._headroom.moment_ms()
            for each in await self._cloud.describe_subnets([subnet]):
                await self._headroom.tell({each.subnet: each.free}, asked_ms=asked_ms)
                self._known[each.subnet] = each
        if subnet not in self._known:
            raise CloudAway("DescribeSubnets", "ResourceNotFound", f"no subnet {subnet}")
        return self._known[subnet]

    def find(self, subnet: SubnetId) -> Subnet | None:
        return self._known.get(subnet)

    def note_free(self, subnet: SubnetId, free: int) -> None:
        """What it has left, calls under way counted, until the cloud is asked again."""
        if known := self._known.get(subnet):
            self._known[subnet] = replace(known, free=max(0, free))

    def refused(self, subnet: SubnetId, error: CloudError) -> None:
        """The cloud would not give from it; after a few in a row it is left alone a while."""
        known = self._breakers.get(subnet, Breaker())
        self._breakers[subnet] = known.failed(self._clock.monotonic_s(), str(error))
        if self._breakers[subnet].is_open(self._clock.monotonic_s()):
            log.warning(
                "subnet is left alone for a while",
                extra={"subnet": subnet, "error": str(error)},
            )

    def worked(self, subnet: SubnetId) -> None:
        self._breakers.pop(subnet, None)

    def usable(self, subnets: Sequence[Subnet]) -> list[Subnet]:
        """Those that are not left alone at the moment."""
        now_s = self._clock.monotonic_s()
        return [
            each
            for each in subnets
            if not self._breakers.get(each.subnet, Breaker()).is_open(now_s)
        ]

    def left_alone(self) -> Mapping[SubnetId, str]:
        """Why, by subnet."""
        now_s = self._clock.monotonic_s()
        return {
            subnet: breaker.reason
            for subnet, breaker in self._breakers.items()
            if breaker.is_open(now_s)
        }
