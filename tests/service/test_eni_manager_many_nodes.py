"""A thousand nodes join within a second, into four subnets that just have room for them."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared.store.keys import eni_key
from tests.support.eni_books import cloud_enis, disagreements
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer, free_port
from tests.support.standin_agent import StandInAgent

log = logging.getLogger(__name__)

NODES = 1000
SUBNETS = [f"subnet-{name}" for name in "abcd"]
_JOIN_S = 150.0
_CALLS = re.compile(r'call_seconds_count\{action="(\w+)",outcome="(\w+)"\} ([0-9.e+]+)')


def many(topology: dict[str, object]) -> None:
    """1,012 addresses in each container subnet, for 250 nodes that take four each."""
    topology["subnets"] = [
        {"id": "subnet-nodes", "cidr": "10.0.128.0/20", "zone": "zone-1"},
        *(
            {"id": name, "cidr": f"10.0.{at * 4}.0/22", "zone": "zone-1"}
            for at, name in enumerate(SUBNETS, 1)
        ),
    ]
    topology["instances"] = [
        {
            "id": f"ins-{at:08d}",
            "node": f"node-{at}",
            "zone": "zone-1",
            "subnet": "subnet-nodes",
            "quota": {"enis": 2, "addresses_per_eni": 10},
        }
        for at in range(NODES)
    ]
    topology["limits"] = {
        "enis_per_vpc": NODES,
        # The documented 20 a second would only stretch the test to a minute more.
        "rates_per_s": {"DescribeNetworkInterfaceLimit": 100},
    }


async def calls(world: EniWorld) -> Counter[tuple[str, str]]:
    """By action and outcome, as the metrics of one replica tell them."""
    url = f"http://{world.settings['health_listen']}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        text = await answer.text()
    return Counter(
        {(action, outcome): int(float(n)) for action, outcome, n in _CALLS.findall(text)}
    )


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_thousand_nodes_join_without_overrunning_a_subnet(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with many_nodes(nats_server, redis_server, tmp_path) as (world, agents):
        await world.process()
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        async with asyncio.TaskGroup() as group:
            for agent in agents:
                group.create_task(agent.beat_until(idle=3, every_s=5, timeout_s=_JOIN_S))

        took_s = loop.time() - began_s
        made = await calls(world)
        at_cloud = await cloud_enis(world)
        shown = await world.cloud.call("DescribeSubnets")
        free = {each.SubnetId: each.AvailableIpAddressCount for each in shown.SubnetSet}  # type: ignore[attr-defined]
        throttled = sum(n for (_, outcome), n in made.items() if outcome == "CloudThrottled")
        log.info("%d nodes in %.1f s: %d throttled, %s", NODES, took_s, throttled, dict(made))
        assert throttled <= NODES / 10, "the shared buckets keep to the rates"

        assert len(at_cloud) == NODES
        assert made["CreateNetworkInterface", "ok"] == NODES
        assert made["CreateNetworkInterface", "CloudSubnetFull"] == 0, "none was overrun"
        assert await disagreements(world, agents) == []
        assert all(free[name] >= 0 for name in SUBNETS)


@pytest.mark.long
@pytest.mark.timeout(360)
async def test_of_three_replicas_one_freezes_while_a_thousand_nodes_join(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """It holds the nodes, and wakes once the others have gone on for a while: what it had
    begun is finished once, and nothing is done twice."""
    async with many_nodes(nats_server, redis_server, tmp_path) as (world, agents):
        del world.settings["health_listen"]  # a port is one process's
        replicas = {each.pid: each for each in [await world.process() for _ in range(3)]}
        async with asyncio.TaskGroup() as group:
            for agent in agents:
                group.create_task(agent.beat_until(idle=3, every_s=5, timeout_s=2 * _JOIN_S))

            async def have_some_joined() -> bool:
                return joined(agents) >= NODES // 10

            await eventually(have_some_joined, timeout_s=_JOIN_S)
            frozen = replicas[await owner_of_nodes(world)]
            frozen.send_signal(signal.SIGSTOP)
            before = joined(agents)

            async def has_gone_on() -> bool:
                is_other = await owner_of_nodes(world) != frozen.pid
                return is_other and joined(agents) >= before + NODES // 10

            await eventually(has_gone_on, timeout_s=_JOIN_S)
            frozen.send_signal(signal.SIGCONT)

        assert frozen.returncode is None, "it lives, and stands by"
        assert len(await cloud_enis(world)) == NODES

        told: list[str] = []

        async def is_consistent() -> bool:
            told[:] = await disagreements(world, agents)
            return not told

        try:
            await eventually(is_consistent)
        except (AssertionError, TimeoutError):
            pytest.fail(f"{len(told)}: {told[:5]}")
        assert all(agent.orders == sorted(set(agent.orders)) for agent in agents)


@asynccontextmanager
async def many_nodes(
    nats_server: NatsServer, redis_server: RedisServer, folder: Path, **settings: object
) -> AsyncIterator[tuple[EniWorld, list[StandInAgent]]]:
    """The cloud and the agents; no eni_manager runs yet."""
    chosen: dict[str, object] = {
        "subnets": SUBNETS,
        "warm_addresses_min": 3,
        "warm_addresses_max": 8,
        "shards": 8,
        "term_ttl_s": 10,
        "round_interval_s": 10,
        "cloud_follow_interval_s": 0.1,
        "cloud_turn_wait_max_s": 120,
        "cloud_retry_s": 60,
        "in_flight_max": 2000,
        "health_listen": f"127.0.0.1:{free_port()}",
        "cloud_rates_per_s": '{"DescribeNetworkInterfaceLimit": 100}',
    } | settings
    async with eni_world(
        nats_server,
        redis_server,
        folder,
        change=many,
        **chosen,
    ) as world:
        agents = [world.standin(f"node-{at}", f"ins-{at:08d}") for at in range(NODES)]
        await asyncio.gather(*(agent.start() for agent in agents))
        try:
            yield world, agents
        finally:
            await asyncio.gather(*(agent.stop() for agent in agents))


def joined(agents: list[StandInAgent]) -> int:
    return sum(bool(agent.owned) for agent in agents)


async def owner_of_nodes(world: EniWorld) -> int:
    """The process that looks after the first shard, by the name of its life."""
    owner: Any = await world.redis.hget(eni_key(CLUSTER, "shard:0"), "owner")
    return int(owner.decode().rsplit("-", 2)[1])
