"""Members of the clusters that die, one alone or a third of everything at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError

from services.vpc_simulator.relay import Way
from tests.chaos.history import FaultUnderWay
from tests.chaos.nemeses.network import some_ways
from tests.chaos.nemeses.spans import APART_S, CUT_OFF_S, for_a_while
from tests.chaos.relays import Link
from tests.chaos.world import CLUSTER, World

_AGAIN_S: Final = 0.2
_LOST: Final = 0.5  # how often what was sent meanwhile is lost; else it arrives late
_JOURNAL: Final = f"BERTH_JOURNAL_{CLUSTER}"
_BACK: Final = {Way.IN: Way.OUT, Way.OUT: Way.IN}
_SAID: Final = {Way.IN: "is not heard", Way.OUT: "does not hear"}  # of who connected


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


def set_apart(routes: Mapping[tuple[str, str], Link], name: str, ways: tuple[Way, ...]) -> int:
    """Cut that server off from the others, as if it had made each connection; how many there
    are."""
    touched = 0
    for (one, other), link in routes.items():
        if name in (one, other):
            touched += link.relay.connections
            link.relay.partition(*(each if name == one else _BACK[each] for each in ways))
    return touched


async def cut_off_bus_server(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """One server of the bus and the others, one way or both; its clients stay its clients."""
    leader, ways = await _leader(world), some_ways(rng)
    name = rng.choice([leader, *world.parts.bus])
    role = "leads" if name == leader else "follows"
    told = " and ".join(_SAID[way] for way in ways)
    fault.what = f"{name}, which {role} the journal, {told}"
    is_lost = rng.random() < _LOST
    try:
        fault.touch(set_apart(world.parts.routes, name, ways))
        await for_a_while(rng, APART_S)
    finally:
        for link in world.parts.routes.values():
            if is_lost and link.relay.is_partitioned:
                await link.relay.cut()
            link.heal()


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
