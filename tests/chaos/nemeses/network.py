"""Connections that are cut, slow, open one way only; messages that come twice and late."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import nats
from nats.aio.msg import Msg

from services.vpc_simulator.relay import Way
from shared.messages.base import subject_root
from tests.chaos.history import FaultUnderWay
from tests.chaos.nemeses.spans import CUT_OFF_S, for_a_while
from tests.chaos.relays import Link
from tests.chaos.world import CLUSTER, World

_DELAY_S: Final = (0.02, 0.3)
_CUTS: Final = 8
_CUT_EVERY_S: Final = (0.05, 0.4)
_LATE_S: Final = (0.01, 1.5)
_COPIED: Final = 0.5  # of the messages that are told again
_COPIES_MAX: Final = 2000
_MEDDLING_S: Final = (3.0, 5.0)


async def _cut_off(
    rng: random.Random, fault: FaultUnderWay, link: Link, ways: tuple[Way, ...]
) -> None:
    fault.touch(link.relay.connections)
    link.relay.partition(*ways)
    try:
        await for_a_while(rng, CUT_OFF_S)
    finally:
        link.relay.heal()


def some_ways(rng: random.Random) -> tuple[Way, ...]:
    return rng.choice(((Way.IN, Way.OUT), (Way.IN,), (Way.OUT,)))


def _of_node(world: World, rng: random.Random) -> tuple[str, Link]:
    linked = [each for each in world.up() if each.is_up and each.link is not None]
    node = rng.choice(linked)
    assert node.link is not None, "it was chosen for its link"
    return node.name, node.link


async def cut_off_node(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """A node and the bus, one way or both."""
    ways, (name, link) = some_ways(rng), _of_node(world, rng)
    fault.what = f"{name} from the bus ({', '.join(ways)})"
    await _cut_off(rng, fault, link, ways)


async def cut_off_store(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """A service and the store."""
    await _cut_off_service(world, rng, fault, "redis")


async def cut_off_bus(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """A service and the bus."""
    await _cut_off_service(world, rng, fault, "nats")


async def _cut_off_service(
    world: World, rng: random.Random, fault: FaultUnderWay, what: str
) -> None:
    ways, service = some_ways(rng), rng.choice(sorted(world.services))
    fault.what = f"{service} from {what} ({', '.join(ways)})"
    await _cut_off(rng, fault, world.links[service, what], ways)


def _all(world: World) -> list[Link]:
    of_nodes = [each.link for each in world.up() if each.is_up and each.link is not None]
    return [*(world.links[key] for key in sorted(world.links)), *of_nodes]


async def slow_network(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Every connection, each by another delay."""
    fault.what = "every connection is slow"
    links = _all(world)
    for link in links:
        link.relay.delay(rng.uniform(*_DELAY_S))
        fault.touch(link.relay.connections)
    try:
        await for_a_while(rng, CUT_OFF_S)
    finally:
        for link in links:
            link.relay.delay(0)


async def lossy_network(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Connections are reset, again and again, with whatever was on its way."""
    fault.what = "connections are reset"
    for _ in range(_CUTS):
        link = rng.choice(_all(world))
        fault.touch(link.relay.connections)
        await link.relay.cut()
        await for_a_while(rng, _CUT_EVERY_S)


async def copied_messages(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Requests, reports and orders come twice, late, and out of order."""
    fault.what = "messages come twice, late, out of order"
    client = await nats.connect(world.nats_server.url, no_echo=True)
    copies: set[asyncio.Task[None]] = set()

    async def copy(message: Msg) -> None:
        if rng.random() < _COPIED and len(copies) < _COPIES_MAX:
            copies.add(asyncio.create_task(_tell_again(message, rng.uniform(*_LATE_S))))

    async def _tell_again(message: Msg, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await client.publish(
            message.subject, message.data, reply=message.reply, headers=message.headers
        )
        fault.touch()

    try:
        for part in ("node", "agent", "address"):
            await client.subscribe(f"{subject_root(CLUSTER)}.{part}.>", cb=copy)
        await for_a_while(rng, _MEDDLING_S)
        await asyncio.gather(*copies)
        await client.flush()
    finally:
        await client.close()
