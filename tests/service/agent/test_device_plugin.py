"""The device plugin against kubelet's side of the API: register, watch, allocate, restart."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import grpc.aio
import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.device_plugin import DevicePlugin
from services.node_agent.adapters.kubelet import KubeletSockets
from services.node_agent.devices import Devices
from services.node_agent.domain.devices import Capacity
from services.node_agent.domain.enis import Eni
from services.node_agent.ledger import Ledger
from services.node_agent.orders import eni_of
from shared.annotations import RESOURCE_EXCLUSIVE, RESOURCE_SHARED, NetworkMode
from shared.clock import SystemClock
from shared.runtime.loops import Loops
from tests.support.agent_world import ENI, STOCK
from tests.support.kubelet import StandInKubelet

RICH = Capacity(addresses_max=8, addresses_free=6, enis_max=3, enis_free=2)
POOR = Capacity(addresses_max=8, addresses_free=0, enis_max=3, enis_free=0)


class Node:
    """A book with stock, and the plugin of each resource."""

    def __init__(self, folder: Path, hold: timedelta) -> None:
        self.book = FileBook(run_dir=folder / "run", state_dir=folder / "state")
        self.clock = SystemClock()
        self.ledger = Ledger(self.book, self.clock.now())
        kubelet = KubeletSockets(folder / "kubelet")
        self.plugins = [
            DevicePlugin(
                Devices(mode, ledger=self.ledger, kubelet=kubelet, clock=self.clock, hold=hold),
                kubelet,
            )
            for mode in NetworkMode
        ]

    def own(self, count: int) -> None:
        enis: list[Eni] = [eni_of(ENI)]
        self.ledger.accept(
            enis, [(address, enis[0].eni) for address in STOCK[:count]], self.clock.now()
        )

    def start(self, loops: Loops) -> None:
        for number, plugin in enumerate(self.plugins):
            loops.every(f"devices {number}", plugin.look, interval_s=0.05)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: it becomes the path of sockets."""
    with tempfile.TemporaryDirectory(prefix="berth-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
async def kubelet(folder: Path) -> AsyncIterator[StandInKubelet]:
    kubelet = StandInKubelet(folder / "kubelet")
    await kubelet.start()
    yield kubelet
    await kubelet.stop()


@pytest.fixture
async def node(folder: Path, kubelet: StandInKubelet) -> AsyncIterator[Node]:
    node = Node(folder, timedelta(seconds=0.2))
    node.own(2)
    node.ledger.learn_capacity(RICH)
    async with Loops(random.Random(1)) as loops:
        node.start(loops)
        yield node
    for plugin in node.plugins:
        await plugin.aclose()
    node.book.close()


async def test_both_resources_are_registered_each_with_a_socket_of_its_own(
    node: Node, kubelet: StandInKubelet
) -> None:
    shared = await kubelet.until_registered(RESOURCE_SHARED)
    exclusive = await kubelet.until_registered(RESOURCE_EXCLUSIVE)

    assert (shared.version, exclusive.version) == ("v1beta1", "v1beta1")
    assert shared.endpoint != exclusive.endpoint
    async with kubelet.watch(RESOURCE_EXCLUSIVE) as watch:
        assert await watch.next() == (2, 3)


async def test_kubelet_watches_the_slots_rise_at_once(
    node: Node, kubelet: StandInKubelet
) -> None:
    node.ledger.learn_capacity(POOR)
    await kubelet.until_registered(RESOURCE_SHARED)

    async with kubelet.watch(RESOURCE_SHARED) as watch:
        assert await watch.next() in {(8, 8), (2, 8)}
        node.own(5)
        while (seen := await watch.next()) == (2, 8):
            pass
        assert seen == (5, 8)


async def test_a_slot_is_allocated_and_one_that_is_not_healthy_is_refused(
    node: Node, kubelet: StandInKubelet
) -> None:
    await kubelet.until_registered(RESOURCE_SHARED)

    assert await kubelet.allocate(RESOURCE_SHARED, "slot-0000", "slot-0001") == 1
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await kubelet.allocate(RESOURCE_SHARED, "slot-4711")

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "slot-4711" in str(refused.value.details())


async def test_after_a_restart_of_kubelet_everything_is_registered_again(
    node: Node, kubelet: StandInKubelet
) -> None:
    await kubelet.until_registered(RESOURCE_SHARED)
    await kubelet.stop()

    await kubelet.start()

    for resource in (RESOURCE_SHARED, RESOURCE_EXCLUSIVE):
        await kubelet.until_registered(resource)
        async with kubelet.watch(resource) as watch:
            assert (await watch.next())[0] > 0


async def test_what_shrinks_below_what_pods_have_keeps_their_slots(
    node: Node, kubelet: StandInKubelet
) -> None:
    await kubelet.until_registered(RESOURCE_SHARED)
    kubelet.given[RESOURCE_SHARED] = {"slot-0004", "slot-0006", "slot-0007"}

    async with kubelet.watch(RESOURCE_SHARED) as watch:
        assert await watch.next() == (8, 8)
        node.ledger.learn_capacity(POOR)
        shown = await watch.devices()

    assert {slot for slot, is_healthy in shown.items() if is_healthy} == {
        "slot-0004",
        "slot-0006",
        "slot-0007",
    }


async def test_a_slot_just_allocated_is_kept_before_kubelet_lists_it(
    node: Node, kubelet: StandInKubelet
) -> None:
    await kubelet.until_registered(RESOURCE_SHARED)
    await kubelet.allocate(RESOURCE_SHARED, "slot-0007")

    async with kubelet.watch(RESOURCE_SHARED) as watch:
        await watch.next()
        node.ledger.learn_capacity(POOR)
        shown = await watch.devices()

    assert {slot for slot, is_healthy in shown.items() if is_healthy} == {
        "slot-0000",
        "slot-0007",
    }


async def test_nothing_is_lowered_while_kubelet_does_not_say_who_has_what(
    node: Node, kubelet: StandInKubelet
) -> None:
    await kubelet.stop()
    await kubelet.start(tells_resources=False)
    await kubelet.until_registered(RESOURCE_SHARED)

    async with kubelet.watch(RESOURCE_SHARED) as watch:
        assert await watch.next() == (8, 8)
        node.ledger.learn_capacity(POOR)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):  # five times the hold
                await watch.next()


async def test_the_maximum_is_known_after_a_restart_with_the_bus_away(folder: Path) -> None:
    first = Node(folder, timedelta(seconds=1))
    first.ledger.learn_capacity(RICH)
    first.book.close()

    again = Node(folder, timedelta(seconds=1))

    assert again.ledger.capacity == RICH.with_nothing_free()
    again.book.close()


def test_an_agent_without_a_device_plugin_never_loads_grpc() -> None:
    code = "import sys, services.node_agent.main; sys.exit('grpc' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
