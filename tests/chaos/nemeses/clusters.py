"""Members of the clusters that die, one alone or a third of everything at once."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError

from tests.chaos.history import FaultUnderWay
from tests.chaos.nemeses.spans import CUT_OFF_S, for_a_while
from tests.chaos.world import CLUSTER, World

_AGAIN_S: Final = 0.2
_JOURNAL: Final = f"BERTH_JOURNAL_{CLUSTER}"


async def _kill(world: World, rng: random.Random, fault: FaultUnderWay, *names: str) -> None:
    """These servers are away for a while."""
    chosen = [world.parts.servers[name] for name in names]
    for server in chosen:
        world.held_down.add(server)
        fault.touch(server.is_running)
        server.kill()
    await for_a_while(rng, CUT_OFF_S)
    for server in chosen:
        world.held_down.discard(server)
    await world.mend()


async def _master(world: World) -> str:
    """The name of the store's server that takes writes now."""
    while True:
        with suppress(RedisError, OSError):  # the sentinels may not have agreed yet
            port = (await world.redis.info("server"))["tcp_port"]
            return next(name for name, each in world.parts.store.items() if each.port == port)
        await asyncio.sleep(_AGAIN_S)


async def _leader(world: World) -> str:
    assert world.parts.bus_cluster is not None, "only clusters have a leader"
    return await world.parts.bus_cluster.leader_of(_JOURNAL)


async def kill_bus_follower(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    leader = await _leader(world)
    name = rng.choice([each for each in world.parts.bus if each != leader])
    fault.what = f"kill -9 {name}"
    await _kill(world, rng, fault, name)


async def kill_bus_leader(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """The server that decides for the journal."""
    name = await _leader(world)
    fault.what = f"kill -9 {name}, which leads the journal"
    await _kill(world, rng, fault, name)


async def kill_store_master(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """The sentinels promote its replica; it comes back as one."""
    name = await _master(world)
    fault.what = f"kill -9 {name} of the store"
    await _kill(world, rng, fault, name)


async def kill_sentinel(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    name = rng.choice(list(world.parts.sentinels))
    fault.what = f"kill -9 {name}"
    await _kill(world, rng, fault, name)


async def lose_a_third(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """The journal's leader, the store's master, an allocator, an eni_manager, an agent."""
    leader, master = await asyncio.gather(_leader(world), _master(world))
    services = [rng.choice(world.replicas(kind)) for kind in ("allocator", "eni_manager")]
    node = rng.choice([each for each in world.up() if each.is_up])
    told = [leader, master, *(each.name for each in services), f"the agent of {node.name}"]
    fault.what = f"kill -9 {', '.join(told)}"
    node.is_held_down = True
    for service in services:
        service.is_held_down = True
        fault.touch(service.kill())
    _, _ = await asyncio.gather(node.kill(), _kill(world, rng, fault, leader, master))
    node.is_held_down = False
    for service in services:
        service.is_held_down = False
    await world.mend()
