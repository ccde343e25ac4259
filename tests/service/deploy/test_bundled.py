"""The bundled bus and store of three nodes, under an allocator in its pod's environment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from services.allocator.config import AllocatorSettings
from shared.bus.client import BusClient
from shared.bus.connection import connect_bus
from shared.bus.roles import Role, client_name
from shared.clock import SystemClock
from shared.errors import BerthError, Refused
from shared.ids import ClusterName, NodeName
from shared.messages.leases import Acquired
from shared.settings import ServiceSettings, StoreSettings, load_settings
from shared.store.connection import check_store, close_store, open_store
from tests.support.allocators import Agent, running
from tests.support.bundled import Bundled, bundled
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.kubernetes.tokens import Bound

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

Answer = TypeVar("Answer")

NODE = NodeName("node-1")
TOKEN = "of-the-agents-pod"


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Bundled]:
    with bundled("ha", 3, tmp_path) as found:
        yield found


def allocator_settings(
    three: Bundled, server: ApiServer, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> AllocatorSettings:
    environment = three.environment("berth-allocator", "allocator")
    environment |= {  # of this machine: it is in no cluster
        "BERTH_HEALTH_LISTEN": "127.0.0.1:0",
        "BERTH_ALLOCATOR_WEBHOOK_LISTEN": "127.0.0.1:0",
        "BERTH_ALLOCATOR_KUBERNETES_CONFIG": str(kubeconfig(server, folder)),
    }
    with monkeypatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        return load_settings(AllocatorSettings, None, environment)


@asynccontextmanager
async def agent(three: Bundled, token: Path) -> AsyncIterator[Agent]:
    settings = ServiceSettings(
        cluster=ClusterName("c1"),
        nats_url=three.keys.settings["BERTH_NATS_URL"],
        nats_ca_file=three.folder / "ca.crt",
        nats_token_file=token,
    )
    name = client_name(Role.NODE_AGENT, NODE)
    nats = await _until(lambda: connect_bus(settings, client_name=name))
    client = BusClient(
        nats, cluster=settings.cluster, clock=SystemClock(), rng=random.Random(1)
    )
    try:
        yield Agent(client, NODE)
    finally:
        await nats.close()


async def test_leases_outlive_a_server_of_the_bus_and_the_stores_master(
    three: Bundled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with api_server() as server:
        server.tokens.known[TOKEN] = Bound(
            audience="berth-bus", account="berth-system:berth-node-agent", node=NODE
        )
        settings = allocator_settings(three, server, monkeypatch, tmp_path)
        async with running(settings), agent(three, token) as node:
            await _until(node.register)
            first = await _until(lambda: _acquire(node, "web-0", "10.0.1.10"))

            # One after the other: of a machine that is lost with both, the bus says only after
            # two and a half minutes that its server is gone, and a new epoch waits for that.
            three.nodes[0].bus.kill()
            second = await _until(lambda: _acquire(node, "web-1", "10.0.1.11"))
            three.nodes[0].bus.start()

            three.nodes[0].store.kill()
            three.nodes[0].sentinel.kill()
            again = await _until(lambda: _acquire(node, "web-0", None))

            # Back on the same node with its data: it follows whom the others have chosen.
            await asyncio.to_thread(three.nodes[0].start_store)
            await asyncio.to_thread(
                three.nodes[0].store.wait_for_words, "REPLICA sync: Finished"
            )
            third = await _until(lambda: _acquire(node, "web-2", "10.0.1.12"))

    held = [str(each.address) for each in (first, second, again, third)]
    assert held == ["10.0.1.10", "10.0.1.11", "10.0.1.10", "10.0.1.12"]


async def test_one_node_is_enough_and_closed_to_who_has_no_key(tmp_path: Path) -> None:
    with bundled("dev", 1, tmp_path) as one:
        keys = one.folder / "berth-eni-manager"
        known = StoreSettings(
            nats_url=one.keys.settings["BERTH_NATS_URL"],
            nats_ca_file=one.folder / "ca.crt",
            redis_url=one.keys.settings["BERTH_ENI_MANAGER_REDIS_URL"],
            redis_password_file=keys / "store.password",
            redis_sentinel_user="eni_manager",
            redis_sentinel_password_file=keys / "store.password",
        )
        manager = known.model_copy(update={"nats_key_file": keys / "bus.nk"})

        client = await connect_bus(manager, client_name=client_name(Role.ENI_MANAGER))
        await client.close()
        store = open_store(known)
        await check_store(store, known)
        await close_store(store)
        with pytest.raises(Refused, match="the bus refuses this key"):
            await connect_bus(known, client_name=client_name(Role.ENI_MANAGER))


async def _acquire(node: Agent, pod: str, candidate: str | None) -> Acquired:
    return await node.send(node.acquire_request(pod, candidate=candidate))


async def _until(attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Asked again until it is answered, as agents do."""
    async with asyncio.timeout(90):
        while True:
            try:
                return await attempt()
            except BerthError:
                await asyncio.sleep(0.25)
