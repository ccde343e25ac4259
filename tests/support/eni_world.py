"""The eni_manager with everything around it: bus, store, simulated cloud, stand-in agents."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypedDict

import nats
from nats.aio.client import Client
from redis.asyncio import Redis

from services.eni_manager.config import EniManagerSettings
from services.eni_manager.main import serve
from shared.addresses import AddressState
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.clusters import Cluster
from shared.errors import Unavailable
from shared.ids import ClusterName, Identity, NodeName
from shared.messages.base import IdentityFields
from shared.messages.moves import ADDRESS_MOVE, Moved, MoveRequest
from shared.store.cluster_records import CLUSTER_NOUN, encode_cluster
from shared.store.keys import eni_node_key, lease_key
from shared.store.lease_records import LeaseRecord
from tests.support.clusters import enabled_cluster
from tests.support.servers import NatsServer, RedisServer
from tests.support.simulated_cloud import (
    REGION,
    SECRET_ID,
    SECRET_KEY,
    SimulatedCloud,
    simulated_cloud,
)
from tests.support.standin_agent import StandInAgent

CLUSTER = ClusterName("tests")
_STOP_S = 10.0
_POLL_S = 0.02
_MOVE_S = 30.0


class MoveArguments(TypedDict):
    subnet: str
    to_node: str
    generation: int


class EniWorld:
    def __init__(
        self,
        *,
        cloud: SimulatedCloud,
        nats: Client,
        redis: Redis,
        settings: dict[str, object],
        stack: AsyncExitStack,
    ) -> None:
        self.cloud = cloud
        self.redis = redis
        self.settings = settings
        self.bus = BusClient(nats, cluster=CLUSTER, clock=SystemClock(), rng=random.Random(3))
        self.nats = nats
        self._stack = stack

    def standin(self, node: str, instance: str) -> StandInAgent:
        """One that the test starts and stops itself."""
        return StandInAgent(self.nats, CLUSTER, node, instance)

    async def agent(self, node: str, instance: str) -> StandInAgent:
        agent = self.standin(node, instance)
        await agent.start()
        self._stack.push_async_callback(agent.stop)
        return agent

    async def lease_moves(
        self,
        identity: Identity,
        address: IPv4Address,
        *,
        subnet: str,
        to_node: str,
        generation: int,
        state: AddressState = AddressState.MOVING,
        is_exclusive: bool = False,
        eni: str | None = "eni-before",
    ) -> None:
        """Write the lease as the allocator does before it asks for a move."""
        record = LeaseRecord(
            address=address,
            state=state,
            generation=generation,
            subnet=subnet,
            eni=eni,
            moving_to=to_node,
            since_ms=1,
            is_exclusive=is_exclusive,
        )
        for noun, field, value in (
            ("fixed", identity.token, record.write()),
            ("addresses", str(address), identity.token),
        ):
            await self.redis.hset(lease_key(CLUSTER, noun), field, value)

    async def open_epoch(self) -> None:
        """As an allocator does once the leases can be believed."""
        info = await self.redis.info("server")
        for field, value in (("number", "1"), ("run_id", str(info["run_id"]))):
            await self.redis.hset(lease_key(CLUSTER, "epoch"), field, value)

    async def cluster_is(self, cluster: Cluster) -> None:
        """Write the cluster's record as the allocator copies it."""
        await self.redis.set(self.cluster_key, encode_cluster(cluster))

    @property
    def cluster_key(self) -> str:
        return lease_key(CLUSTER, CLUSTER_NOUN)

    async def move(
        self,
        identity: Identity,
        address: IPv4Address,
        *,
        subnet: str,
        to_node: str,
        generation: int,
        timeout_s: float = 10.0,
    ) -> Moved:
        request = MoveRequest(
            deadline=datetime.now(UTC) + timedelta(seconds=timeout_s),
            identity=IdentityFields.of(identity),
            address=address,
            subnet=subnet,
            from_eni=None,
            to_node=to_node,
            generation=generation,
        )
        return await self.bus.call(ADDRESS_MOVE, request)

    async def move_until_answered(
        self,
        identity: Identity,
        address: IPv4Address,
        *,
        subnet: str,
        to_node: str,
        generation: int,
    ) -> Moved:
        """As an allocator does: the same question again after each unanswered one."""
        async with asyncio.timeout(_MOVE_S):
            while True:
                with suppress(Unavailable):
                    return await self.move(
                        identity,
                        address,
                        subnet=subnet,
                        to_node=to_node,
                        generation=generation,
                        timeout_s=3.0,
                    )

    async def slow(self, action: str, milliseconds: int) -> None:
        """How long what a call begins takes at the cloud."""
        effect = {"effects": {"actions": {action: {"median_ms": milliseconds}}}}
        await self.cloud.admin("POST", "latency", effect)

    async def is_migrating(self, address: IPv4Address) -> bool:
        """Whether it is on its way from one ENI to another."""
        found = await self.cloud.call(
            "DescribeNetworkInterfaces",
            Filters=[{"Name": "address-ip", "Values": [str(address)]}],
        )
        return any(
            each.PrivateIpAddress == str(address) and each.State == "MIGRATING"
            for eni in found.NetworkInterfaceSet  # type: ignore[attr-defined]
            for each in eni.PrivateIpAddressSet
        )

    async def leases(self) -> dict[str, LeaseRecord]:
        """By the names of their pods, as the store has them."""
        found = await self.redis.hgetall(lease_key(CLUSTER, "fixed"))
        return {
            Identity.from_token(_decoded(token)).name: LeaseRecord.read(body)
            for token, body in found.items()
        }

    async def holds(self, node: str) -> dict[str, str]:
        """How each address of a node is held, by the eni_manager's book."""
        key = eni_node_key(CLUSTER, "addresses", NodeName(node))
        found = await self.redis.hgetall(key)
        return {_decoded(address): json.loads(body)["hold"] for address, body in found.items()}

    @asynccontextmanager
    async def manager(self, **changed: object) -> AsyncIterator[None]:
        """One replica in this process, until the block ends; some settings are its own."""
        stop = asyncio.Event()
        settings = EniManagerSettings.model_validate(self.settings | changed)
        task = asyncio.create_task(serve(settings, stop), name="eni-manager")
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(_STOP_S):
                await task

    async def process(self) -> asyncio.subprocess.Process:
        """One replica as a process of its own, to be killed."""
        environment = {
            f"BERTH_ENI_MANAGER_{name.upper()}": _text(value)
            for name, value in self.settings.items()
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.eni_manager.main",
            env={"PATH": os.environ["PATH"], **environment},
        )
        self._stack.push_async_callback(_end, process)
        return process


async def eventually(is_so: Callable[[], Awaitable[bool]], *, timeout_s: float = 20.0) -> None:
    """Until the world is as claimed; the cloud tells of nothing by itself, so it is asked."""
    async with asyncio.timeout(timeout_s):
        for _ in range(round(timeout_s / _POLL_S)):
            if await is_so():
                return
            await asyncio.sleep(_POLL_S)
    raise AssertionError("it did not become so")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()


def _decoded(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(f'"{each}"' for each in value) + "]"
    return str(value)


@asynccontextmanager
async def eni_world(
    nats_server: NatsServer,
    redis_server: RedisServer,
    folder: Path,
    *,
    change: Callable[[dict[str, object]], None] = lambda _: None,
    **settings: object,
) -> AsyncIterator[EniWorld]:
    """Everything but the eni_manager itself, which the test starts; the cluster is enabled with
    `subnets`, unless they are empty."""
    subnets = settings.pop("subnets", ["subnet-a"])
    assert isinstance(subnets, list), "names of subnets"
    id_file, key_file = folder / "secret-id", folder / "secret-key"
    for file, text in ((id_file, SECRET_ID), (key_file, SECRET_KEY)):
        file.touch(mode=0o600)
        file.write_text(text, encoding="ascii")
    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(simulated_cloud(folder, change))
        client = await nats.connect(nats_server.url)
        stack.push_async_callback(client.close)
        redis = Redis.from_url(redis_server.url)
        stack.push_async_callback(redis.aclose)
        chosen: dict[str, object] = {
            "cluster": CLUSTER,
            "nats_url": nats_server.url,
            "redis_url": redis_server.url,
            "cloud_url": cloud.url,
            "cloud_region": REGION,
            "cloud_secret_id_file": id_file,
            "cloud_secret_key_file": key_file,
            "cloud_follow_interval_s": 0.02,
            "round_interval_s": 0.5,
            "subnets_interval_s": 1.0,
            "term_ttl_s": 1.0,
            "shards": 2,
        } | settings
        world = EniWorld(cloud=cloud, nats=client, redis=redis, settings=chosen, stack=stack)
        await world.open_epoch()
        if subnets:
            await world.cluster_is(enabled_cluster(*subnets))
        yield world
