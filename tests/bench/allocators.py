"""Real allocator processes over a real bus and store, and a load of ``lease.acquire``."""

from __future__ import annotations

import asyncio
import random
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Final

from nats.aio.client import Client
from nats.errors import NoRespondersError

from berth.programs import base_environment, python_module
from services.allocator.config import AllocatorSettings
from shared.bus.client import BusClient
from shared.bus.connection import connect_bus
from shared.clock import SystemClock
from shared.messages.leases import LEASE_ACQUIRE
from tests.support.allocators import CLOCK, CLUSTER, Agent
from tests.support.servers import NatsServer, RedisServer, nats_server, redis_server

IN_FLIGHT: Final = 64
ANSWER_S: Final = 10.0
FIRST_ADDRESS: Final = int(IPv4Address("11.0.0.0"))
_STOP_S: Final = 20.0
_PATIENCE: Final = timedelta(seconds=60)
_UNSETTLED_MAX: Final = 64 * IN_FLIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One cluster's servers, and the allocators that serve it."""

    nats: NatsServer
    redis: RedisServer
    processes: list[subprocess.Popen[bytes]]


@contextmanager
def world(allocators: int) -> Iterator[World]:
    with ExitStack() as stack:
        nats = stack.enter_context(nats_server())
        redis = stack.enter_context(redis_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = [
            stack.enter_context(
                running("services.allocator.main", folder / f"allocator-{number}", nats, redis)
            )
            for number in range(allocators)
        ]
        yield World(nats=nats, redis=redis, processes=processes)


@contextmanager
def running(
    module: str, log_file: Path, nats: NatsServer, redis: RedisServer
) -> Iterator[subprocess.Popen[bytes]]:
    """A service of ours, until the block ends."""
    with program(module, (), on_servers(nats, redis), log_file) as process:
        yield process


def on_servers(nats: NatsServer, redis: RedisServer) -> dict[str, str]:
    """Settings of a service that uses these servers."""
    return {
        "BERTH_CLUSTER": CLUSTER,
        "BERTH_NATS_URL": nats.url,
        "BERTH_REDIS_URL": redis.url,
        "BERTH_LOG_LEVEL": "WARNING",
    }


@contextmanager
def program(
    module: str, arguments: tuple[str, ...], settings: dict[str, str], log_file: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of ours with these settings, until the block ends."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            (*python_module(module), *arguments),
            env=base_environment() | settings,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@asynccontextmanager
async def connected(nats: NatsServer) -> AsyncIterator[Client]:
    settings = AllocatorSettings(cluster=CLUSTER, nats_url=nats.url)
    client = await connect_bus(settings, client_name="bench")
    try:
        yield client
    finally:
        await client.close()


class Load:
    """Acquires of new identities, each with a candidate of its own, from one node."""

    def __init__(self, client: Client, node: str) -> None:
        self.client = client
        bus = BusClient(client, cluster=CLUSTER, clock=SystemClock(), rng=random.Random(1))
        self.agent = Agent(bus, node)
        self.subject = LEASE_ACQUIRE.subject(CLUSTER, self.agent.node)
        self._node = node
        self._number = count()

    def bodies(self, many: int) -> list[bytes]:
        """Requests ready to be sent: what the load costs itself is not what is measured."""
        return [self.body() for _ in range(many)]

    def body(self) -> bytes:
        number = next(self._number)
        request = self.agent.acquire_request(
            f"pod-{self._node}-{number}", candidate=str(IPv4Address(FIRST_ADDRESS + number))
        )
        # Others are in flight: what lies further back than this has been answered.
        lowest = max(1, request.fence.sequence - _UNSETTLED_MAX)
        fence = request.fence.model_copy(update={"lowest_unsettled": lowest})
        changes = {"fence": fence, "deadline": CLOCK.now() + _PATIENCE}
        return request.model_copy(update=changes).model_dump_json().encode()

    async def acquire(self, body: bytes) -> None:
        answer = await self.client.request(self.subject, body, timeout=ANSWER_S)
        while b'"epoch_lost"' in answer.data:  # this replica has not opened the epoch yet
            await asyncio.sleep(0.02)
            answer = await self.client.request(self.subject, body, timeout=ANSWER_S)
        if b"berth.v1.acquired" not in answer.data:
            raise RuntimeError(f"an acquire was refused: {answer.data.decode()}")


Send = Callable[[bytes], Awaitable[None]]


async def rate(bodies: list[bytes], send: Send, *, in_flight: int = IN_FLIGHT) -> float:
    """Requests per second."""
    return (await timed(bodies, send, in_flight=in_flight))[0]


async def timed(
    bodies: list[bytes], send: Send, *, in_flight: int
) -> tuple[float, list[float]]:
    """Requests per second, and how many seconds each took."""
    waiting = iter(bodies)
    took_s: list[float] = []

    async def sender() -> None:
        for body in waiting:
            sent_s = time.perf_counter()
            await send(body)
            took_s.append(time.perf_counter() - sent_s)

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as senders:
        for number in range(in_flight):
            senders.create_task(sender(), name=f"sender {number}")
    return len(bodies) / (time.perf_counter() - began_s), took_s


async def until_served(send: Send, body: bytes) -> None:
    """Ask until somebody answers: a process that starts tells of nothing by itself."""
    async with asyncio.timeout(ANSWER_S):
        while True:
            try:
                return await send(body)
            except NoRespondersError:
                await asyncio.sleep(0.02)
