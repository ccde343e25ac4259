"""A Redis Cluster as the store, with several Berth clusters on it, each on its slot's owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.allocator.config import AllocatorSettings
from shared.ids import ClusterName
from shared.store.connection import close_store, open_store
from shared.store.keys import lease_key, root
from tests.support.allocators import CLUSTER, bus_client, running
from tests.support.lease_storm import LeaseStorm
from tests.support.servers import NatsServer
from tests.support.store_clusters import StoreCluster, store_cluster

OTHER = ClusterName("other")
FAIL_OVER_S = 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreCluster]:
    with store_cluster(tmp_path, CLUSTER, OTHER) as found:
        assert found.owner_of(CLUSTER) is not found.owner_of(OTHER), "what is to be shown"
        yield found


def settings_of(
    nats: NatsServer, store: StoreCluster, cluster: ClusterName = CLUSTER
) -> AllocatorSettings:
    return AllocatorSettings.model_validate(
        {"nats_url": nats.url, "claim_timeout_s": 1.0, **store.settings_of(cluster)}
    )


@asynccontextmanager
async def storm_on(nats: NatsServer, store: StoreCluster) -> AsyncIterator[LeaseStorm]:
    here = settings_of(nats, store)
    async with running(here), running(here), bus_client(nats) as (client, _):
        storm = LeaseStorm(client)
        async with storm.blowing(4):
            yield storm


async def test_each_berth_cluster_is_on_the_owner_of_its_slot(
    nats_server: NatsServer, store: StoreCluster
) -> None:
    async with storm_on(nats_server, store) as storm, asyncio.timeout(FAIL_OVER_S):
        await storm.answered(10)
    client = open_store(settings_of(nats_server, store, OTHER))
    await client.hset(lease_key(OTHER, "fixed"), "field", "value")
    await close_store(client)

    for cluster in (CLUSTER, OTHER):
        with store.admin(store.owner_of(cluster)) as owner:
            keys = [str(each.decode()) for each in owner.scan_iter()]
        assert keys
        assert all(each.startswith(root(cluster)) for each in keys)


async def test_a_fail_over_is_followed_and_answers_are_kept(
    nats_server: NatsServer, store: StoreCluster
) -> None:
    async with storm_on(nats_server, store) as storm, asyncio.timeout(FAIL_OVER_S):
        await storm.answered(50)
        before = dict(storm.acknowledged)

        store.owner_of(CLUSTER).kill()
        await storm.answered(50)

        assert await storm.broken(before) == {}


async def test_an_owner_that_hands_its_slot_over_is_left_for_the_new_one(
    nats_server: NatsServer, store: StoreCluster
) -> None:
    async with storm_on(nats_server, store) as storm, asyncio.timeout(FAIL_OVER_S):
        await storm.answered(20)
        before = dict(storm.acknowledged)

        with store.admin(store.replica) as replica:
            replica.execute_command("CLUSTER", "FAILOVER")
            await storm.answered(50)
            assert replica.info("replication")["role"] == "master"

        assert await storm.broken(before) == {}
