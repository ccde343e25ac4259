"""A store that loses leases under load, and what a lease costs in it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final

import uvloop
from nats.aio.client import Client
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.allocator.adapters.lease_codec import decode_lease
from shared.errors import BerthError
from shared.ids import GENERATION_BITS
from shared.runtime.loops import cancel
from shared.store.keys import lease_key
from tests.bench.allocators import Load, connected, world
from tests.bench.figures import Family, Figure, Measured, median
from tests.bench.fill import LeaseFill, lease
from tests.bench.losses import Emptied, Killed, Loss, Promoted, PutBack
from tests.support.allocators import CLUSTER

LEASES: Final = 100_000
RUNS: Final = 5  # of the store emptied; each of the other losses is tried once
LOAD: Final = 16  # acquires in flight while the store is emptied
_WARM_UP_S: Final = 1.0
_RUN_S_MAX: Final = 120.0
_TAIL: Final = 2000  # acquires answered that the promoted replica has not heard of
_POLL_S: Final = 0.05  # of the store while it comes back

RECOVERY = Figure(
    name="recovery_100k",
    unit="s",
    what="FLUSHALL under load with 100,000 journaled fixed leases, to the first new acquire;"
    " every lease is there again, with its address; beside it kill -9, an older state put back"
    " and a promoted replica without the tail, once each",
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
                    if not self.first_of_epoch.done():
                        self.first_of_epoch.set_result(time.perf_counter())

    async def answers(self, many: int) -> None:
        """Until so many more pods have their address."""
        wanted = len(self.answered) + many
        async with asyncio.timeout(_RUN_S_MAX):
            while True:
                if len(self.answered) >= wanted:
                    return
                await asyncio.sleep(_POLL_S)

    async def _again(self, error: BerthError) -> None:
        if error.code == "not_registered":  # the store has forgotten this life
            with suppress(BerthError):  # the epoch may be lost again: the acquire tells
                await self.load.agent.register(nonce=f"after-{self._number}")
        else:
            await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """How one loss came to an end."""

    first_s: float  # to the first acquire of the new epoch
    all_back_s: float  # to as many leases in the store as were answered before
    lost: int  # leases that are not there with their address
    twice: int  # addresses that two identities hold

    @property
    def told(self) -> dict[str, Any]:
        return {
            "first_s": round(self.first_s, 2),
            "all_back_s": round(self.all_back_s, 2),
            "lost": self.lost,
            "twice": self.twice,
        }


def _candidate(number: int) -> str:
    return f"11.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def measure() -> list[Measured]:
    return uvloop.run(_measure())


async def _measure() -> list[Measured]:
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(world(2))
        client = await stack.enter_async_context(connected(servers.nats))
        fill = await stack.enter_async_context(LeaseFill(client, servers.redis))
        storm = Storm(client)
        await storm.load.agent.register()
        _say(f"filling {LEASES} leases")
        await fill.put(LEASES // 2)
        older = stack.enter_context(PutBack.taken(servers.redis))
        await fill.redis.connection_pool.disconnect()  # the server was another one until now
        await fill.put(LEASES, first=LEASES // 2)
        sizes = await fill.bytes_per_lease()
        pods = [asyncio.create_task(storm.pod(), name=f"pod {n}") for n in range(LOAD)]
        try:
            emptied = [
                await _lose(fill.redis, storm, f"emptied {run}", Emptied())
                for run in range(1, RUNS + 1)
            ]
            losses: dict[str, Loss] = {"kill -9": Killed(servers.redis), "older state": older}
            others = {
                name: await _lose(fill.redis, storm, name, loss)
                for name, loss in losses.items()
            }
            replica = await stack.enter_async_context(Promoted.following(servers.redis))
            await replica.cut_off()
            await storm.answers(_TAIL)
            name = "promoted replica"
            others[name] = await _lose(fill.redis, storm, name, replica)
        finally:
            await cancel(pods)
    if wrong := [each for each in (*emptied, *others.values()) if each.lost or each.twice]:
        raise RuntimeError(f"leases are not what they were: {wrong}")
    return [
        Measured(
            figure=RECOVERY,
            value=median([each.first_s for each in emptied]),
            baseline=None,
            detail={
                "leases": LEASES,
                "load_in_flight": LOAD,
                "emptied": [each.told for each in emptied],
                **{name: each.told for name, each in others.items()},
            },
        ),
        Measured(
            figure=LEASE_BYTES,
            value=sum(sizes.values()),
            baseline=None,
            detail={key: round(size, 1) for key, size in sizes.items()},
        ),
    ]


async def _lose(redis: Redis, storm: Storm, name: str, loss: Loss) -> Recovered:
    """Lose the store, and wait until it is served and whole again."""
    await asyncio.sleep(_WARM_UP_S)
    storm.first_of_epoch = asyncio.get_running_loop().create_future()
    answered = LEASES + len(storm.answered)
    began_s = time.perf_counter()
    async with asyncio.timeout(_RUN_S_MAX):
        await loss.happen(redis)
        back_s = await _all_back(redis, answered)
        first_s = await storm.first_of_epoch
    lost, twice = await _looked_at(redis, storm)
    recovered = Recovered(
        first_s=first_s - began_s, all_back_s=back_s - began_s, lost=lost, twice=twice
    )
    _say(f"{name}: {recovered.told}")
    return recovered


def _say(progress: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {progress}\n")


async def _all_back(redis: Redis, many: int) -> float:
    """When so many leases are in the store; which ones is looked at afterwards."""
    while True:
        with suppress(RedisError, OSError):  # it is not there yet, or loads its file
            if await redis.hlen(lease_key(CLUSTER, "fixed")) >= many:
                return time.perf_counter()
        await asyncio.sleep(_POLL_S)


async def _looked_at(redis: Redis, storm: Storm) -> tuple[int, int]:
    """Leases that are not as they were or were answered; addresses that are held twice."""
    wanted = {each.identity.name: str(each.address) for each in map(lease, range(LEASES))}
    wanted |= storm.answered
    found: dict[str, str] = {}
    async for token, body in redis.hscan_iter(lease_key(CLUSTER, "fixed"), count=1000):
        known = decode_lease(token, body)
        found[known.identity.name] = str(known.address)
    lost = sum(found.get(name) != address for name, address in wanted.items())
    return lost, sum(many > 1 for many in Counter(found.values()).values())


FAMILIES: Final = (Family(figures=(RECOVERY, LEASE_BYTES), measure=measure),)
