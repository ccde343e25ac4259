"""A node that lost its power starts pods while everything else is down, and agrees later."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest

from berth.demo.workloads import visitors
from berth.demo.world import World, until
from berth.doctor.examine import examine
from berth.manifests.pods import reborn
from berth.playground.playground import Playground
from shared.addresses import AddressState
from shared.messages.nodes import Inventory
from tests.support.played_node import PlayedNode, all_others_down, fixed_pod

PODS = 3
AGREE_S = 60.0
USED = (AddressState.BOUND_IMMEDIATE, AddressState.BOUND_FIXED)
pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(240)]


def has_enough(book: Inventory) -> bool:
    return sum(each.state is AddressState.STOCK for each in book.addresses) >= PODS


async def amiss(world: World) -> list[str]:
    """Where the books differ, and addresses that are used twice; empty once all agree."""
    examined = await examine(world.bus, settle_s=0.5)
    books = [await world.inventory(node.name) for node in world.state.nodes]
    used = Counter(
        entry.address for book in books for entry in book.addresses if entry.state in USED
    )
    found = [f"{each.code} {each.address}: {each.detail}" for each in examined.findings]
    found += [f"{book}: {why}" for book, why in examined.unread.items()]
    return found + [f"{address} is used twice" for address, times in used.items() if times > 1]


async def test_after_a_power_cut_stock_is_served_with_everything_else_down(
    playground: Playground, played: PlayedNode, world: World
) -> None:
    rng = random.Random(5)
    db = fixed_pod(rng)
    fixed = await played.start(db)
    for spec in islice(visitors(rng), 2):
        await played.start(spec)
    book, is_warm = await until(
        lambda: world.inventory(played.node.name), has_enough, timeout_s=AGREE_S
    )
    assert is_warm, "there is stock to go by"
    owned = {each.address for each in book.addresses}

    async with all_others_down(playground):
        await played.cut_power()
        await played.power_on()
        alone = [await played.start(spec) for spec in islice(visitors(rng), PODS)]
        reached = await played.stage.runner(played.node.name).probe(
            alone[0].name, "tcp", alone[1].address
        )

    addresses = {actor.address for actor in alone}
    assert len(addresses) == len(alone)
    assert addresses <= owned - {fixed.address}, "only what the state folder says is ours"
    assert reached.is_answered
    found, _ = await until(lambda: amiss(world), lambda found: not found, timeout_s=AGREE_S)
    assert found == []
    again = await played.start(reborn(db, rng))
    assert again.address == fixed.address
    cloud = await world.cloud()
    assert cloud.broken_rules == []
    for actor in (*alone, again):
        eni = cloud.eni_with(actor.address)
        assert eni is not None
        assert eni.instance == played.node.instance
    found, _ = await until(lambda: amiss(world), lambda found: not found, timeout_s=AGREE_S)
    assert found == []
