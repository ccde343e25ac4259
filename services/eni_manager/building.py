"""The workers' tools, built from the settings and from the doors that `main` has opened."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.eni_manager.config import EniManagerSettings
from services.eni_manager.domain.ports import (
    Agents,
    Allocators,
    Embargoes,
    EniWants,
    Events,
    Headroom,
    Leases,
)
from services.eni_manager.domain.watermarks import Watermarks
from services.eni_manager.followed_capacities import FollowedCapacities
from services.eni_manager.followed_cluster import FollowedCluster
from services.eni_manager.follower import EniFollower
from services.eni_manager.gathering import Gathering
from services.eni_manager.subnets import SubnetBook
from services.eni_manager.tools import Limits, Tools
from services.eni_manager.vpc_enis import VpcEnis
from shared.clock import Clock
from shared.cloud.port import INSTANCES_PER_DESCRIBE_MAX, CloudApi
from shared.cloud.words import Eni, Instance
from shared.ids import InstanceId

_BACKOFF_FIRST_S: Final = 0.05
_BACKOFF_LONGEST_S: Final = 1.0
_GATHER_S: Final = 0.02  # questions within this time are asked together
# Of instances whose ENIs are asked for together: all of them are to fit on one page.
_ENIS_OF_INSTANCES_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What leads out of this process."""

    cloud: CloudApi
    record: FollowedCluster
    leases: Leases
    agents: Agents
    allocators: Allocators
    events: Events
    headroom: Headroom
    embargoes: Embargoes
    capacities: FollowedCapacities
    wants: EniWants


def build_tools(
    settings: EniManagerSettings, doors: Doors, clock: Clock, rng: random.Random
) -> Tools:
    cloud = doors.cloud

    async def instances(names: Sequence[InstanceId]) -> Mapping[InstanceId, Instance]:
        return {each.instance: each for each in await cloud.describe_instances(names)}

    async def enis_on(names: Sequence[InstanceId]) -> Mapping[InstanceId, list[Eni]]:
        found: dict[InstanceId, list[Eni]] = {name: [] for name in names}
        for each in await cloud.find_enis_on(names):
            if each.instance in found:
                found[each.instance].append(each)
        return found

    return Tools(
        cluster=settings.cluster,
        cloud=cloud,
        follower=EniFollower(cloud, interval_s=settings.cloud_follow_interval_s),
        instances=Gathering(instances, most=INSTANCES_PER_DESCRIBE_MAX, wait_s=_GATHER_S),
        enis_on=Gathering(enis_on, most=_ENIS_OF_INSTANCES_MAX, wait_s=_GATHER_S),
        subnets=SubnetBook(cloud, doors.record, doors.headroom, clock),
        headroom=doors.headroom,
        embargoes=doors.embargoes,
        leases=doors.leases,
        agents=doors.agents,
        allocators=doors.allocators,
        events=doors.events,
        capacities=doors.capacities,
        record=doors.record,
        vpc_enis=VpcEnis(doors.wants, clock, rests_s=settings.vpc_quota_interval_s),
        whole_marks=Watermarks(
            warm_min=settings.warm_enis_min, warm_max=settings.warm_enis_max
        ),
        security_groups=settings.security_groups,
        limits=_limits(settings),
        clock=clock,
        rng=rng,
    )


def _limits(settings: EniManagerSettings) -> Limits:
    return Limits(
        call_retry_s=settings.cloud_retry_s,
        change_timeout_s=settings.cloud_change_timeout_s,
        backoff_first_s=_BACKOFF_FIRST_S,
        backoff_longest_s=_BACKOFF_LONGEST_S,
        in_flight_max=timedelta(seconds=settings.cloud_in_flight_max_s),
        eni_rest_s=settings.empty_eni_rest_s,
        gone_after_s=settings.instance_gone_after_s,
        cooling=timedelta(seconds=settings.gone_cooling_s),
        quota_every_s=settings.quota_interval_s,
    )
