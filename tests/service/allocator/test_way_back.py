"""Back to the release before, and forward again, while pods come and go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address

from nats.aio.client import Client
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.allocator.adapters.journal import JetStreamJournal
from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.domain.leases import Lease
from services.allocator.durability import WriteGate
from services.allocator.way_back import WayBack
from shared.bus.connection import connect_bus
from shared.errors import BerthError, ErrorCode
from shared.ids import generation
from shared.runtime.loops import cancel
from tests.service.allocator.test_journal import NOW, step
from tests.service.allocator.test_power import held_by
from tests.support.allocators import CLUSTER, Agent, bus_client, running, settings
from tests.support.lease_storm import LeaseStorm, register
from tests.support.servers import NatsServer, RedisServer
from tests.support.version_1 import Leases, journal_of_version_1, store_of_version_1


@asynccontextmanager
async def bus_of(nats: NatsServer, redis: RedisServer) -> AsyncIterator[Client]:
    bus = await connect_bus(settings(nats, redis), client_name="older")
    try:
        yield bus
    finally:
        await bus.close()


class Replicas:
    """Two allocators, rolled one after the other as an operator's rollout does."""

    def __init__(self, nats: NatsServer, redis: RedisServer) -> None:
        self._servers = nats, redis
        self._running: list[AsyncExitStack] = []

    async def roll(self, stored_format: int) -> None:
        here = settings(
            *self._servers, stored_format=stored_format, stored_format_interval_s=0.1
        )
        for _ in range(2):
            stack = AsyncExitStack()
            await stack.enter_async_context(running(here))
            self._running.append(stack)
            if len(self._running) > 2:
                await self._running.pop(0).aclose()

    async def stop(self) -> None:
        while self._running:
            await self._running.pop().aclose()


class ComeAndGo:
    """Pods that end and come back; each must find the address that it had."""

    def __init__(self) -> None:
        self.rounds = 0
        self.addresses: dict[str, IPv4Address] = {}
        self._more = asyncio.Condition()

    async def live(self, agent: Agent, pod: str, candidate: str) -> None:
        await register(agent)
        for number in itertools.count():
            uid, sandbox = f"uid-{number}", f"{number:064x}"
            while True:
                try:
                    got = await agent.acquire(
                        pod, candidate=candidate, uid=uid, sandbox=sandbox
                    )
                    assert self.addresses.setdefault(pod, got.address) == got.address
                    await agent.release(pod, got.generation, uid=uid, sandbox=sandbox)
                    break
                except BerthError as error:
                    if error.code is ErrorCode.NOT_REGISTERED:
                        await register(agent)
                    await asyncio.sleep(0.02)
            async with self._more:
                self.rounds += 1
                self._more.notify_all()

    async def again(self, more: int) -> None:
        """Until so many rounds more were made."""
        wanted = self.rounds + more
        async with self._more:
            await self._more.wait_for(lambda: self.rounds >= wanted)


async def test_back_and_forward_under_load_loses_nothing(
    nats_server: NatsServer, redis_server: RedisServer, redis: Redis
) -> None:
    replicas, pods = Replicas(nats_server, redis_server), ComeAndGo()
    async with (
        asyncio.timeout(60),
        bus_client(nats_server) as (client, _),
        bus_of(nats_server, redis_server) as bus,
    ):
        storm = LeaseStorm(client)
        try:
            await replicas.roll(2)
            going = [
                asyncio.create_task(
                    pods.live(Agent(client, f"goer-{n}"), f"goer-{n}", f"13.0.0.{n + 1}")
                )
                for n in range(4)
            ]
            async with storm.blowing(6):
                await storm.answered(150)

                await replicas.roll(1)
                await _until_all_is_of_version_1(redis, bus)
                await storm.answered(100)  # also those are written as that release reads them
                await pods.again(8)
                told = storm.acknowledged | pods.addresses
                stored = await store_of_version_1(redis)
                journaled = await journal_of_version_1(bus)
                assert told.items() <= _addresses(stored).items()
                assert told.items() <= _addresses(journaled).items()

                await replicas.roll(2)
                await storm.answered(50)
                await redis.flushall()  # what is journaled in both formats is put back
                await storm.answered(50)
                await pods.again(8)
            await cancel(going)
        finally:
            await replicas.stop()

    held = await held_by(redis_server)
    assert (storm.acknowledged | pods.addresses).items() <= held.items()
    assert len(told) >= 254


async def test_what_is_of_version_1_says_the_same_in_both_books(
    nats_server: NatsServer, redis_server: RedisServer, redis: Redis
) -> None:
    replicas = Replicas(nats_server, redis_server)
    async with bus_client(nats_server) as (client, _), bus_of(nats_server, redis_server) as bus:
        storm = LeaseStorm(client)
        try:
            await replicas.roll(2)
            async with storm.blowing(4):
                await storm.answered(60)
                await replicas.roll(1)
                await storm.answered(20)
            await _until_all_is_of_version_1(redis, bus)
        finally:
            await replicas.stop()
        stored, journaled = await store_of_version_1(redis), await journal_of_version_1(bus)

    assert stored == journaled
    assert storm.acknowledged.items() <= _addresses(stored).items()
    for book in ("store", "journal"):
        assert _left(book) == 0


async def test_a_round_that_ended_halfway_is_gone_on_with_by_another_replica(
    nats_server: NatsServer, redis_server: RedisServer, redis: Redis
) -> None:
    leases = [step(n, pod=f"web-{n}") for n in range(1, 601)]
    async with bus_of(nats_server, redis_server) as bus:
        store, journal = await _books_with(redis, bus, leases)
        for book in (store, journal):
            batches = book.rewrite_newer()
            assert await anext(batches) > 0
            await batches.aclose()  # its allocator is killed here
            assert 0 < await book.count_newer() < 600

        other = JetStreamJournal(bus, CLUSTER, writer="other", stored_format=1)
        other.use_epoch(await journal.epoch())
        way = WayBack({"store": store, "journal": other})
        await way.round()
        await way.round()

        assert (_left("store"), _left("journal")) == (0, 0)
        assert await _generations(redis, bus) == {f"web-{n}": n for n in range(1, 601)}


async def test_a_step_between_look_and_writing_stands(
    nats_server: NatsServer, redis_server: RedisServer, redis: Redis
) -> None:
    async with bus_of(nats_server, redis_server) as bus:
        store, journal = await _books_with(
            redis, bus, [step(n, pod=f"web-{n}") for n in range(1, 301)]
        )
        newer = JetStreamJournal(bus, CLUSTER, writer="newer")
        newer.use_epoch(await journal.epoch())

        batches = journal.rewrite_newer()
        await anext(batches)  # the second batch is read, and not written yet
        await newer.write([step(1000, pod="web-300")])
        await newer.fold()
        assert [each async for each in batches] == []

        way = WayBack({"store": store, "journal": journal})
        await way.round()
        await way.round()
        assert (await journal_of_version_1(bus))["web-300"].g == generation(1, 1000)
        assert _left("journal") == 0


async def _books_with(
    redis: Redis, bus: Client, leases: Sequence[Lease]
) -> tuple[RedisLeases, JetStreamJournal]:
    """Both as this release writes them; what is returned writes version 1."""
    writer = JetStreamJournal(bus, CLUSTER, writer="writer")
    await writer.ensure_stream()
    epoch = await writer.put_epoch(1, is_open=True, at=NOW, after=None)
    writer.use_epoch(epoch)
    await writer.write(leases)
    await writer.fold()
    filling = RedisLeases(redis, CLUSTER, WriteGate())
    await filling.claim(1, empty=True)
    assert await filling.restore(1, leases)
    await filling.open(1)
    store = RedisLeases(redis, CLUSTER, WriteGate(), stored_format=1)
    store.use_epoch(1)
    journal = JetStreamJournal(bus, CLUSTER, writer="older", stored_format=1)
    journal.use_epoch(epoch)
    return store, journal


async def _generations(redis: Redis, bus: Client) -> dict[str, int]:
    stored, journaled = await store_of_version_1(redis), await journal_of_version_1(bus)
    assert stored == journaled
    return {pod: each.g - generation(1, 0) for pod, each in stored.items()}


async def _until_all_is_of_version_1(redis: Redis, bus: Client) -> None:
    """As that release's reader finds it, whatever our own count says."""
    while True:
        try:
            await store_of_version_1(redis)
            await journal_of_version_1(bus)
        except (ValueError, AssertionError):
            await asyncio.sleep(0.05)
        else:
            return


def _addresses(leases: Leases) -> dict[str, IPv4Address]:
    return {pod: each.a for pod, each in leases.items()}


def _left(book: str) -> float | None:
    return REGISTRY.get_sample_value("berth_allocator_newer_records_count", {"book": book})
