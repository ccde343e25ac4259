"""Cooling ends early only for a pod that waits, and only once the address was flushed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shared.errors import StockEmpty, Unavailable
from tests.service.agent.conftest import Boot, Node
from tests.support.agent_world import STOCK, key, write_pod


@pytest.fixture
async def node(boot: Boot) -> Node:
    return await boot(cooling_least_s=0.05, rest_interval_s=0.05)


async def used(node: Node, container: str) -> None:
    """An `Immediate` pod has come and gone: its address cools."""
    await node.add(container)
    await node.agent.service.delete(key(container))


async def test_a_pod_that_waits_gets_the_address_that_rested_longest_flushed(
    node: Node,
) -> None:
    await node.offer(*STOCK[:2])
    await used(node, "c1")
    await used(node, "c2")

    wired = await node.add("c3", seconds=5)

    assert wired.address == STOCK[0]
    assert node.kernel.forgotten == [STOCK[0]]
    assert node.agent.heartbeat.counts().cooling == 1


async def test_a_fixed_pod_that_finds_no_candidate_gets_one_flushed(
    node: Node, tmp_path: Path
) -> None:
    await node.offer(STOCK[0])
    await used(node, "c1")

    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    wired = await node.add("c2", pod, "uid-1", seconds=5)

    assert (wired.address, node.kernel.forgotten) == (STOCK[0], [STOCK[0]])


async def test_what_could_not_be_flushed_rests_on(node: Node) -> None:
    node.kernel.conntrack_failure = Unavailable("no ctnetlink")
    await node.offer(STOCK[0])
    await used(node, "c1")

    with pytest.raises(StockEmpty):
        await node.add("c2", seconds=0.5)

    assert node.agent.heartbeat.counts().cooling == 1


async def test_nothing_is_flushed_while_another_address_is_idle(node: Node) -> None:
    await node.offer(*STOCK[:2])
    await used(node, "c1")

    wired = await node.add("c2")
    looked_again = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, looked_again.set)
    await looked_again.wait()

    assert wired.address == STOCK[1]
    assert node.kernel.forgotten == []
    counts = node.agent.heartbeat.counts()
    assert (counts.cooling, counts.idle) == (1, 0)
