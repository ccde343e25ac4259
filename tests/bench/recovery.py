"""A store that is emptied under load, and what a lease costs in it."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final

import uvloop
from nats.aio.client import Client
from redis.asyncio import Redis

from services.allocator.adapters.lease_codec import decode_lease
from shared.errors import BerthError
from shared.ids import GENERATION_BITS
from shared.store.keys import lease_key
from tests.bench.allocators import Load, connected, world
from tests.bench.figures import Family, Figure, Measured, median
from tests.bench.fill import LeaseFill, lease
from tests.support.allocators import CLUSTER

LEASES: Final = 100_000
RUNS: Final = 5
LOAD: Final = 16  # acquires in flight while the store is emptied
_WARM_UP_S: Final = 1.0
_RUN_S_MAX: Final = 120.0

RECOVERY = Figure(
    name="recovery_100k",
    unit="s",
    what="FLUSHALL under load with 100,000 journaled fixed leases, to the first new acquire;"
    " every lease is there again, with its address",
    aim=10,
    is_ratio=False,
)
LEASE_BYTES = Figure(
    name="lease_bytes",
    unit="bytes",
    what="MEMORY USAGE (every entry counted) of the leases' keys with 100,000 leases, each",
    aim=400,
    is_ratio=False,
)


class Storm:
    """Pods that keep coming: each asks again until it is answered, as an agent does."""

    def __init__(self, client: Client) -> None:
        self.load = Load(client, "node-1")
        self.answered: dict[str, str] = {}  # pod → address
        self.epoch = 1
        self.first_of_epoch: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._number = 0

    async def pod(self) -> None:
        agent = self.load.agent
        while True:
            self._number += 1
            name, candidate = f"pod-{self._number}", _candidate(self._number)
            while name not in self.answered:
                try:
                    acquired = await agent.acquire(name, candidate=candidate)
                except BerthError as error:
                    await self._again(error)
                    continue
                self.answered[name] = str(acquired.address)
                epoch = acquired.generation >> GENERATION_BITS
                if epoch > self.epoch:  # else bound before the loss, answered after it
                    self.epoch = epoch
                    self.first_of_epoch.set_result(time.perf_counter())

    async def _again(self, error: BerthError) -> None:
        if error.code == "not_registered":  # the store has forgotten this life
            await self.load.agent.register(nonce=f"after-{self._number}")
        else:
            await asyncio.sleep(0.05)


def _candidate(number: int) -> str:
    return f"11.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def measure() -> list[Measured]:
    return uvloop.run(_measure())


async def _measure() -> list[Measured]:
    took_s: list[float] = []
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(world(2))
        client = await stack.enter_async_context(connected(servers.nats))
        fill = await stack.enter_async_context(LeaseFill(client, servers.redis))
        storm = Storm(client)
        await storm.load.agent.register()
        await fill.put(LEASES)
        sizes = await fill.bytes_per_lease()
        pods = [asyncio.create_task(storm.pod(), name=f"pod {n}") for n in range(LOAD)]
        try:
            for _ in range(RUNS):
                await asyncio.sleep(_WARM_UP_S)
                took_s.append(await _lose_store(fill.redis, storm))
        finally:
            for pod in pods:
                pod.cancel()
            await asyncio.gather(*pods, return_exceptions=True)
        lost = await _lost(fill.redis, storm)
    if lost:
        raise RuntimeError(f"{lost} leases are not what they were")
    return [
        Measured(
            figure=RECOVERY,
            value=median(took_s),
            baseline=None,
            detail={
                "leases": LEASES,
                "runs_s": [round(each, 2) for each in took_s],
                "load_in_flight": LOAD,
                "lost": lost,
            },
        ),
        Measured(
            figure=LEASE_BYTES,
            value=sum(sizes.values()),
            baseline=None,
            detail={key: round(size, 1) for key, size in sizes.items()},
        ),
    ]


async def _lose_store(redis: Redis, storm: Storm) -> float:
    """Seconds from the loss to the first acquire that is answered after it."""
    storm.first_of_epoch = asyncio.get_running_loop().create_future()
    await redis.flushall()
    began_s = time.perf_counter()
    async with asyncio.timeout(_RUN_S_MAX):
        return await storm.first_of_epoch - began_s


async def _lost(redis: Redis, storm: Storm) -> int:
    """Leases that were there or were answered, and are not as they were."""
    found: dict[str, str] = {}
    async for token, body in redis.hscan_iter(lease_key(CLUSTER, "fixed"), count=1000):
        known = decode_lease(token, body)
        found[known.identity.name] = str(known.address)
    wanted = {each.identity.name: str(each.address) for each in map(lease, range(LEASES))}
    wanted |= storm.answered
    return sum(found.get(name) != address for name, address in wanted.items())


FAMILIES: Final = (Family(figures=(RECOVERY, LEASE_BYTES), measure=measure),)
