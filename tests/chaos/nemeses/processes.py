"""Processes that die, stand still, or are rolled out anew."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.history import FaultUnderWay
from tests.chaos.nemeses.spans import DOWN_S, FROZEN_S, for_a_while
from tests.chaos.nodes import ChaosNode
from tests.chaos.processes import Service
from tests.chaos.world import World
from tests.support.servers import Server


async def _kill_service(
    world: World, rng: random.Random, fault: FaultUnderWay, kind: str
) -> None:
    service: Service = rng.choice(world.replicas(kind))
    fault.what = f"kill -9 {service.name}"
    service.is_held_down = True
    fault.touch(service.kill())
    await for_a_while(rng, DOWN_S)
    service.is_held_down = False


async def kill_allocator(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    await _kill_service(world, rng, fault, "allocator")


async def kill_eni_manager(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    await _kill_service(world, rng, fault, "eni_manager")


async def _freeze_service(
    world: World, rng: random.Random, fault: FaultUnderWay, kind: str
) -> None:
    service: Service = rng.choice(world.replicas(kind))
    fault.what = f"SIGSTOP {service.name}"
    fault.touch(service.freeze())
    try:
        await for_a_while(rng, FROZEN_S)
    finally:
        service.thaw()


async def freeze_allocator(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    await _freeze_service(world, rng, fault, "allocator")


async def freeze_eni_manager(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    await _freeze_service(world, rng, fault, "eni_manager")


async def restart_services(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """A roll-out: every replica once, in order."""
    fault.what = "a roll-out of allocators and eni_managers"
    services = list(world.services.values())
    rng.shuffle(services)
    for service in services:
        fault.touch(await service.stop())
        await world.mend()


def _any_node(world: World, rng: random.Random) -> ChaosNode:
    return rng.choice([each for each in world.up() if each.is_up])


async def kill_agent(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Just before a write of its book: between any two of its steps."""
    node, write = _any_node(world, rng), rng.randrange(8)
    fault.what = f"kill -9 the agent of {node.name} before write {write} of its book"
    life = node.kill_at_write(write)
    node.is_held_down = True
    try:
        async with asyncio.timeout(3.0):
            await life.ended.wait()
    except TimeoutError:
        pass  # nothing was written on that node: it dies at rest
    fault.touch()
    await node.kill()
    await for_a_while(rng, DOWN_S)
    node.is_held_down = False
    await node.restart()


async def restart_agent(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """In order, as its roll-out does."""
    node = _any_node(world, rng)
    fault.what = f"the agent of {node.name} is restarted"
    fault.touch()
    node.is_held_down = True
    await node.stop()
    await for_a_while(rng, DOWN_S)
    node.is_held_down = False
    await node.start()


async def _restart_server(
    world: World, rng: random.Random, fault: FaultUnderWay, server: Server
) -> None:
    world.held_down.add(server)
    fault.touch(server.is_running)
    server.kill()
    await for_a_while(rng, DOWN_S)
    world.held_down.discard(server)
    await world.mend()


async def kill_nats(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    fault.what = "kill -9 NATS"
    await _restart_server(world, rng, fault, world.nats_server)


async def kill_redis(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    fault.what = "kill -9 Redis"
    await _restart_server(world, rng, fault, world.redis_server)


async def _freeze_server(
    rng: random.Random, fault: FaultUnderWay, server: Server, name: str
) -> None:
    fault.what = f"SIGSTOP {name}"
    fault.touch(server.is_running)
    server.freeze()
    try:
        await for_a_while(rng, FROZEN_S)
    finally:
        server.thaw()


async def freeze_nats(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    await _freeze_server(rng, fault, world.nats_server, "NATS")


async def freeze_redis(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    await _freeze_server(rng, fault, world.redis_server, "Redis")
