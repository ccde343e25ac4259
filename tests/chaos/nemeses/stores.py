"""Stores that lose what they were told, or have no room for more."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path
from typing import Final

from tests.chaos.history import FaultUnderWay
from tests.chaos.nemeses.spans import CUT_OFF_S, DOWN_S, for_a_while
from tests.chaos.world import World
from tests.support.servers import Server
from tests.support.small_disk import SmallDisk

_FILES: Final = "appendonlydir"
_AGE_S: Final = (0.5, 2.0)


async def flush_redis(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Somebody empties the store."""
    fault.what = "FLUSHALL"
    fault.touch(await world.redis.dbsize())
    await world.redis.flushall()
    await for_a_while(rng, DOWN_S)


async def restore_redis(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Somebody puts files back that are a while old."""
    server, files = world.redis_server, world.parts.disks["redis"].seen / _FILES
    copy = world.folder / "older"
    shutil.rmtree(copy, ignore_errors=True)
    await world.mend()  # no room a while ago may have ended it
    server.freeze()
    try:
        shutil.copytree(files, copy)
    finally:
        server.thaw()
    await for_a_while(rng, _AGE_S)
    world.held_down.add(server)
    fault.what = "Redis with older files"
    fault.touch(_bytes(files) - _bytes(copy))
    server.kill()
    shutil.rmtree(files)
    shutil.copytree(copy, files)
    world.held_down.discard(server)
    await world.mend()
    await for_a_while(rng, DOWN_S)


def _bytes(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


async def fill_redis_disk(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    fault.what = "no room for Redis' file"
    await _fill(world, rng, fault, world.redis_server, world.parts.disks["redis"])


async def fill_nats_disk(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """JetStream switches itself off for good: whoever watches its health starts it anew."""
    fault.what = "no room for the journal"
    await _fill(world, rng, fault, world.nats_server, world.parts.disks["nats"])
    world.nats_server.kill()
    await world.mend()


async def _fill(
    world: World, rng: random.Random, fault: FaultUnderWay, server: Server, disk: SmallDisk
) -> None:
    world.held_down.add(server)  # it may end of it, and could not start
    try:
        await asyncio.to_thread(disk.fill)
        fault.touch(server.is_running)
        await for_a_while(rng, CUT_OFF_S)
    finally:
        disk.make_room()
        world.held_down.discard(server)
    await world.mend()


async def fill_book_disk(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """A node's agent can keep nothing new."""
    node = rng.choice([each for each in world.up() if each.is_up])
    fault.what = f"no room for the book of {node.name}"
    life = node.fill_disk(is_full=True)
    try:
        await for_a_while(rng, CUT_OFF_S)
    finally:
        node.fill_disk(is_full=False)
    fault.touch(life.writes_refused)
