"""What every worker uses, handed over as one, and the one way to repeat a cloud call."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from services.eni_manager.domain.errands import under_right
from services.eni_manager.domain.ports import (
    Agents,
    Allocators,
    Embargoes,
    Events,
    Headroom,
    Leases,
)
from services.eni_manager.domain.records import NodeRecord
from services.eni_manager.domain.watermarks import Watermarks
from services.eni_manager.followed_capacities import FollowedCapacities
from services.eni_manager.followed_cluster import FollowedCluster
from services.eni_manager.follower import EniFollower
from services.eni_manager.gathering import Gathering
from services.eni_manager.subnets import SubnetBook
from services.eni_manager.vpc_enis import VpcEnis
from shared.clock import Clock
from shared.cloud.errors import RETRIED
from shared.cloud.port import CloudApi
from shared.cloud.words import Eni, Instance
from shared.ids import ClusterName, InstanceId
from shared.runtime.backoff import backoff_s

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings that workers need, with their units in their names."""

    call_retry_s: float  # one call is repeated this long
    change_timeout_s: float  # from a change's call to its being done
    backoff_first_s: float
    backoff_longest_s: float
    in_flight_max: timedelta  # a signed call may still arrive this long after its owner's end
    eni_rest_s: float  # an ENI is removed once it has been empty this long
    gone_after_s: float  # an instance that the cloud no longer shows
    cooling: timedelta  # of addresses of a node that was said to be gone
    quota_every_s: float  # an instance's quota is asked for again


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    cluster: ClusterName
    cloud: CloudApi
    follower: EniFollower
    instances: Gathering[InstanceId, Instance]
    enis_on: Gathering[InstanceId, list[Eni]]
    subnets: SubnetBook
    headroom: Headroom
    embargoes: Embargoes
    leases: Leases
    agents: Agents
    allocators: Allocators
    events: Events
    capacities: FollowedCapacities
    record: FollowedCluster
    vpc_enis: VpcEnis
    whole_marks: Watermarks  # of ENIs that one pod has as a whole
    security_groups: tuple[str, ...]
    limits: Limits
    clock: Clock
    rng: random.Random

    def marks(self, node: NodeRecord) -> Watermarks:
        """With the pod maximum that the cluster was enabled with."""
        return self.capacities.marks(node, pods_max=self.record.pods_max)

    def whole_marks_of(self, node: NodeRecord) -> Watermarks:
        """As `marks`, of ENIs that one pod has as a whole."""
        return self.capacities.whole_marks(node, otherwise=self.whole_marks)

    async def call(self, check: Callable[[], None], send: Callable[[], Awaitable[T]]) -> T:
        """Repeat while the cloud says "later". `check` comes before each call's turn, and
        again once it is signed."""
        waits = backoff_s(
            self.rng,
            first_s=self.limits.backoff_first_s,
            longest_s=self.limits.backoff_longest_s,
        )
        until_s = self.clock.monotonic_s() + self.limits.call_retry_s
        while True:
            check()
            try:
                with under_right(check):
                    return await send()
            except RETRIED:
                wait_s = next(waits)
                if self.clock.monotonic_s() + wait_s >= until_s:
                    raise
                await asyncio.sleep(wait_s)

    def new_id(self) -> str:
        """Of an intent, a recall, a token: never the same twice."""
        return f"{self.rng.getrandbits(96):024x}"
