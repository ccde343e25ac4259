"""A node that lost its power starts pods while everything else is down, and agrees later."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path

import aiohttp
import pytest

from berth.demo.placement import Place
from berth.demo.stage import Actor
from berth.demo.workloads import visitors
from berth.demo.world import World, until
from berth.doctor.examine import examine
from berth.manifests.pods import PodSpec, pods_of, reborn
from berth.manifests.reader import parse_manifest
from berth.operator import open_operator
from berth.playground.playground import Playground, StartOptions, ignore
from berth.playground.topology import default_topology
from shared.addresses import AddressState
from shared.messages.nodes import Inventory
from tests.support.played_node import PlayedNode, all_others_down

NODE = "node-1"
PODS = 3
AGREE_S = 60.0
USED = (AddressState.BOUND_IMMEDIATE, AddressState.BOUND_FIXED)
DB = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata:
      labels: {app: db}
      annotations:
        tke.cloud.tencent.com/networks: tke-route-eni
        tke.cloud.tencent.com/vpc-ip-claim-delete-policy: Never
    spec:
      containers:
        - name: db
          image: busybox
          resources: {limits: {tke.cloud.tencent.com/eni-ip: "1"}}
"""

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture
async def playground(run_dir: Path) -> AsyncIterator[Playground]:
    started = await Playground.start(
        run_dir=run_dir,
        topology=default_topology(),
        options=StartOptions(cooling_s=1.0),
        report=ignore,
    )
    try:
        yield started
    finally:
        await started.stop()


@pytest.fixture
async def played(playground: Playground) -> AsyncIterator[PlayedNode]:
    node = await PlayedNode.boot(playground, NODE)
    try:
        yield node
    finally:
        await node.stop()


@pytest.fixture
async def world(playground: Playground) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(open_operator(playground.state))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(state=playground.state, bus=bus, http=http)


async def start(played: PlayedNode, spec: PodSpec) -> Actor:
    place = Place(node=played.node.name, zone=played.node.zone)
    return await played.stage.start(spec, place, lambda waiting: None)


def has_enough(book: Inventory) -> bool:
    return sum(each.state is AddressState.STOCK for each in book.addresses) >= PODS


async def amiss(world: World) -> list[str]:
    """Where the books differ, and addresses that are used twice; empty once all agree."""
    findings, unread = await examine(world.bus, settle_s=0.5)
    books = [await world.inventory(node.name) for node in world.state.nodes]
    used = Counter(
        entry.address for book in books for entry in book.addresses if entry.state in USED
    )
    found = [f"{each.code} {each.address}: {each.detail}" for each in findings]
    found += [f"{book}: {why}" for book, why in unread.items()]
    return found + [f"{address} is used twice" for address, times in used.items() if times > 1]


async def test_after_a_power_cut_stock_is_served_with_everything_else_down(
    playground: Playground, played: PlayedNode, world: World
) -> None:
    rng = random.Random(5)
    db = pods_of(parse_manifest(DB), rng)[0]
    fixed = await start(played, db)
    for spec in islice(visitors(rng), 2):
        await start(played, spec)
    book, is_warm = await until(
        lambda: world.inventory(played.node.name), has_enough, timeout_s=AGREE_S
    )
    assert is_warm, "there is stock to go by"
    owned = {each.address for each in book.addresses}

    async with all_others_down(playground):
        await played.cut_power()
        await played.power_on()
        alone = [await start(played, spec) for spec in islice(visitors(rng), PODS)]
        reached = await played.stage.runner(played.node.name).probe(
            alone[0].name, "tcp", alone[1].address
        )

    addresses = {actor.address for actor in alone}
    assert len(addresses) == len(alone)
    assert addresses <= owned - {fixed.address}, "only what the state folder says is ours"
    assert reached.is_answered
    found, _ = await until(lambda: amiss(world), lambda found: not found, timeout_s=AGREE_S)
    assert found == []
    again = await start(played, reborn(db, rng))
    assert again.address == fixed.address
    cloud = await world.cloud()
    assert cloud.broken_rules == []
    for actor in (*alone, again):
        eni = cloud.eni_with(actor.address)
        assert eni is not None
        assert eni.instance == played.node.instance
    found, _ = await until(lambda: amiss(world), lambda found: not found, timeout_s=AGREE_S)
    assert found == []
