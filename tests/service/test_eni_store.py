"""Terms, fenced writes and shared token buckets on a real store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest
from redis.asyncio import Redis

from services.eni_manager.adapters.rate_limits import RedisPace
from services.eni_manager.adapters.redis_enis import RedisEniStore, shard_of
from services.eni_manager.domain.records import (
    AddressRecord,
    Demand,
    Hold,
    Intent,
    IntentKind,
    NodeRecord,
)
from shared.clock import SystemClock
from shared.errors import Stale, Unavailable
from shared.ids import ClusterName, EniId, InstanceId, NodeName
from tests.support.eni_world import eventually

CLUSTER = ClusterName("tests")
NODE = NodeRecord(
    node=NodeName("10.0.0.7"),
    instance=InstanceId("ins-one"),
    incarnation=1,
    demand=Demand(idle=2),
    heard_at=datetime(2026, 1, 1, tzinfo=UTC),
)
ADDRESS = AddressRecord(
    address=IPv4Address("10.0.1.5"), eni=EniId("eni-1"), hold=Hold.ASSIGNING
)
INTENT = Intent(intent="i-1", kind=IntentKind.ASSIGN, eni=EniId("eni-1"), count=2)


def store_of(redis: Redis, owner: str) -> RedisEniStore:
    return RedisEniStore(redis, cluster=CLUSTER, owner=owner, clock=SystemClock())


async def test_what_was_written_is_loaded_again(redis: Redis) -> None:
    store = store_of(redis, "one")
    term = await store.claim(0, ttl_s=5)
    assert term is not None

    await store.write(term, NODE.node, put=[NODE, ADDRESS, INTENT])

    [node] = await store.load_nodes()
    image = await store.load(node)
    assert node == NODE
    assert image.addresses == {ADDRESS.address: ADDRESS}
    assert image.intents == {INTENT.intent: INTENT}


async def test_one_write_puts_and_drops_together(redis: Redis) -> None:
    store = store_of(redis, "one")
    term = await store.claim(0, ttl_s=5)
    assert term is not None
    await store.write(term, NODE.node, put=[INTENT])

    await store.write(term, NODE.node, put=[replace(ADDRESS, hold=Hold.GIVEN)], drop=[INTENT])

    image = await store.load(NODE)
    assert image.intents == {}
    assert image.addresses[ADDRESS.address].hold is Hold.GIVEN


async def test_a_shard_has_one_owner_at_a_time(redis: Redis) -> None:
    one, two = store_of(redis, "one"), store_of(redis, "two")
    first = await one.claim(0, ttl_s=5)

    assert first is not None
    assert await two.claim(0, ttl_s=5) is None


async def test_a_renewed_term_keeps_its_number(redis: Redis) -> None:
    store = store_of(redis, "one")
    first = await store.claim(0, ttl_s=5)
    again = await store.claim(0, ttl_s=5)

    assert first is not None
    assert again is not None
    assert again.number == first.number
    assert again.ends_at_s > first.ends_at_s


async def test_a_write_under_a_lost_term_changes_nothing(redis: Redis) -> None:
    one, two = store_of(redis, "one"), store_of(redis, "two")
    lost = await one.claim(0, ttl_s=0.05)
    assert lost is not None
    await one.write(lost, NODE.node, put=[NODE])

    async def is_taken_over() -> bool:
        return await two.claim(0, ttl_s=5) is not None

    await eventually(is_taken_over)
    with pytest.raises(Stale):
        await one.write(lost, NODE.node, put=[ADDRESS, replace(NODE, incarnation=9)])

    assert await two.load_nodes() == [NODE]
    assert (await two.load(NODE)).addresses == {}


async def test_a_term_that_ran_out_writes_nothing_even_if_nobody_took_it(redis: Redis) -> None:
    store = store_of(redis, "one")
    term = await store.claim(0, ttl_s=0.05)
    assert term is not None

    async def is_over() -> bool:
        try:
            await store.write(term, NODE.node, put=[NODE])
        except Stale:
            return True
        return False

    await eventually(is_over)


async def test_terms_rise_over_all_shards(redis: Redis) -> None:
    one, two = store_of(redis, "one"), store_of(redis, "two")
    first, second = await one.claim(0, ttl_s=5), await two.claim(1, ttl_s=5)
    assert first is not None
    assert second is not None

    await one.give_up(first)
    third = await two.claim(0, ttl_s=5)

    assert third is not None
    assert third.number > second.number > first.number


async def test_a_term_given_up_late_does_not_end_the_next_owners(redis: Redis) -> None:
    one, two = store_of(redis, "one"), store_of(redis, "two")
    first = await one.claim(0, ttl_s=5)
    assert first is not None
    await one.give_up(first)
    second = await two.claim(0, ttl_s=5)
    assert second is not None

    await one.give_up(first)

    await two.write(second, NODE.node, put=[NODE])
    assert await two.load_nodes() == [NODE]


async def test_a_store_that_does_not_answer_is_unavailable() -> None:
    redis = Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2)
    store = store_of(redis, "one")

    with pytest.raises(Unavailable):
        await store.claim(0, ttl_s=5)

    await redis.aclose()


def test_nodes_are_spread_over_the_shards_and_stay_there() -> None:
    nodes = [NodeName(f"10.0.{at}.1") for at in range(200)]

    shards = [shard_of(each, 8) for each in nodes]

    assert set(shards) == set(range(8))
    assert shards == [shard_of(each, 8) for each in nodes]


def pace(redis: Redis, rate_per_s: float, *, wait_max_s: float = 30.0) -> RedisPace:
    return RedisPace(
        redis,
        cluster=CLUSTER,
        rates_per_s={"Act": rate_per_s},
        default_per_s=20,
        wait_max_s=wait_max_s,
    )


async def test_replicas_share_an_actions_rate(redis: Redis) -> None:
    one, two = pace(redis, 50), pace(redis, 50)
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    await asyncio.gather(*(each.turn("Act") for each in (one, two) for _ in range(15)))

    took_s = loop.time() - began_s
    assert took_s >= (30 - 5) / 50, "a tenth of a second's worth goes at once, the rest waits"


async def test_throttling_halves_the_rate(redis: Redis) -> None:
    calm, hit = pace(redis, 50, wait_max_s=0.01), pace(redis, 50)

    await hit.throttled("Act")
    await hit.throttled("Act")

    with pytest.raises(Unavailable, match=r"Act: .* to wait under the account's rate limit"):
        await calm.turn("Act")
