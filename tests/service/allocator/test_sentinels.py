"""A store behind sentinels: its master is found, followed, and completed when it lacks leases.

Every client has its own user, at the servers and at the sentinels.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoPermissionError

from services.allocator.config import AllocatorSettings
from shared.store.connection import close_store, open_store
from tests.support.allocators import CLUSTER, bus_client, running
from tests.support.lease_storm import LeaseStorm
from tests.support.sentinels import SENTINELS, SERVICE, WatchedStore, watched_store
from tests.support.servers import NatsServer

FAIL_OVER_S = 40


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WatchedStore]:
    with watched_store(CLUSTER, tmp_path) as found:
        yield found


def settings_of(nats: NatsServer, store: WatchedStore) -> AllocatorSettings:
    return AllocatorSettings.model_validate(
        {"cluster": CLUSTER, "nats_url": nats.url, "claim_timeout_s": 1.0, **store.settings}
    )


@asynccontextmanager
async def storm_on(nats: NatsServer, store: WatchedStore) -> AsyncIterator[LeaseStorm]:
    await _ready(settings_of(nats, store))
    here = settings_of(nats, store)
    async with running(here), running(here), bus_client(nats) as (client, _):
        storm = LeaseStorm(client)
        async with storm.blowing(4):
            yield storm


async def _ready(settings: AllocatorSettings) -> None:
    """Until the replica follows and the sentinels know of it: else none could be promoted."""
    client = open_store(settings)
    sentinels = asked_by(client)
    async with asyncio.timeout(FAIL_OVER_S):
        while True:
            masters = [await state_of(each) for each in sentinels]
            copies = (await client.info("replication"))["connected_slaves"]
            if copies == 1 and all(
                (each["num-slaves"], each["num-other-sentinels"]) == (1, SENTINELS - 1)
                for each in masters
            ):
                break
            await asyncio.sleep(0.05)
    await close_store(client)


def asked_by(client: Redis) -> list[Redis]:
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    return list(pool.sentinel_manager.sentinels)


async def state_of(sentinel: Redis) -> dict[str, int]:
    masters = await sentinel.sentinel_masters()
    assert isinstance(masters, dict)
    return masters[SERVICE]


async def test_a_fail_over_is_followed_and_answers_are_kept(
    nats_server: NatsServer, store: WatchedStore
) -> None:
    async with storm_on(nats_server, store) as storm, asyncio.timeout(FAIL_OVER_S):
        await storm.answered(50)
        before = dict(storm.acknowledged)

        store.master.kill()
        await storm.answered(50)

        assert await storm.broken(before) == {}


async def test_a_promoted_replica_without_the_tail_is_noticed_and_completed(
    nats_server: NatsServer, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with storm_on(nats_server, store) as storm, asyncio.timeout(FAIL_OVER_S):
        await storm.answered(20)
        store.replica.kill()
        await storm.answered(50)
        before = dict(storm.acknowledged)
        caplog.clear()

        store.master.kill()
        await asyncio.to_thread(store.replica.start)
        await storm.answered(50)

        opened = [r for r in caplog.records if r.msg == "opening an epoch"]
        assert {vars(record)["from"] for record in opened} == {"the journal"}
        assert await storm.broken(before) == {}


async def test_a_sentinel_tells_a_service_where_the_master_is_and_nothing_else(
    nats_server: NatsServer, store: WatchedStore
) -> None:
    client = open_store(settings_of(nats_server, store))
    sentinel = asked_by(client)[0]

    assert await client.ping()
    for words in (("SENTINEL", "FAILOVER", "berth"), ("SENTINEL", "REMOVE", "berth")):
        with pytest.raises(NoPermissionError):
            await sentinel.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py's own
    await close_store(client)
