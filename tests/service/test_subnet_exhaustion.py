"""In how many seconds a subnet has no free address, as the metrics tell it."""

from __future__ import annotations

import math
from pathlib import Path

from prometheus_client import REGISTRY

from tests.support.eni_world import eni_world, eventually
from tests.support.servers import NatsServer, RedisServer

LASTS = "berth_eni_manager_subnet_exhausted_in_seconds"
FREE = "berth_eni_manager_subnet_free_addresses_count"
SMALL = {"subnet": "subnet-small"}


async def test_a_subnet_lasts_for_ever_until_its_addresses_go_and_not_at_all_when_empty(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        subnets=["subnet-small"],
        warm_addresses_min=0,
        warm_addresses_max=4,
        subnets_interval_s=0.2,
    ) as world:
        agent = await world.agent("node-1", "ins-one")
        async with world.manager():

            async def lasts_for_ever() -> bool:
                return REGISTRY.get_sample_value(LASTS, SMALL) == math.inf

            await eventually(lasts_for_ever)
            agent.waiting = 2
            await agent.want_until(idle=2)

            async def is_going() -> bool:
                lasts_s = REGISTRY.get_sample_value(LASTS, SMALL)
                return lasts_s is not None and 0 < lasts_s < math.inf

            await eventually(is_going)
            agent.waiting = 4
            await agent.want_until(idle=4)

            async def has_gone() -> bool:
                free = REGISTRY.get_sample_value(FREE, SMALL)
                return (free, REGISTRY.get_sample_value(LASTS, SMALL)) == (0, 0)

            await eventually(has_gone)
