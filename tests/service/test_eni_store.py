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
from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.ports import TermEnded
from services.eni_manager.domain.records import (
    AddressRecord,
    Demand,
    Hold,
    Intent,
    IntentKind,
    NodeRecord,
)
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.ids import ClusterName, EniId, InstanceId, NodeName
from shared.store.keys import eni_key
from tests.support.eni_world import eventually
from tests.support.servers import RedisServer

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


@pytest.mark.parametrize("loss", ["emptied", "older"])
async def test_a_store_that_lost_its_terms_gives_none_of_them_again(
    redis: Redis, loss: str
) -> None:
    """Else a replica would take the number for its own renewal, and agents for the past."""
    store, other = store_of(redis, "one"), store_of(redis, "two")
    first = await store.claim(0, ttl_s=5)
    before = await redis.dump(eni_key(CLUSTER, "terms"))
    second = await store.claim(1, ttl_s=5)
    assert before is not None
    assert first is not None
    assert second is not None

    await redis.flushall()
    if loss == "older":
        await redis.restore(eni_key(CLUSTER, "terms"), 0, before)
    later = [await each.claim(number, ttl_s=5) for number, each in enumerate((store, other))]

    numbers = [each.number for each in later if each is not None]
    assert len(numbers) == 2
    assert first.number < second.number < min(numbers)
    assert len(set(numbers)) == 2


async def test_on_a_server_that_was_restarted_the_owner_begins_another_term(
    redis: Redis, redis_server: RedisServer
) -> None:
    """It may have been put back to an older state: what is in memory is not what it says."""
    one, two = store_of(redis, "one"), store_of(redis, "two")
    first = await one.claim(0, ttl_s=60)
    assert first is not None
    await one.write(first, NODE.node, put=[NODE, INTENT])

    await redis_server.restart()
    with pytest.raises(Unavailable):
        await two.load_nodes()  # what was connected to the server before

    with pytest.raises(TermEnded):
        await one.write(first, NODE.node, drop=[INTENT])
    assert await two.claim(0, ttl_s=60) is None
    later = await one.claim(0, ttl_s=60)
    assert later is not None
    assert later.number > first.number
    assert (await one.load(NODE)).intents == {INTENT.intent: INTENT}
    await one.write(later, NODE.node, drop=[INTENT])
    assert (await one.load(NODE)).intents == {}


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
    with pytest.raises(TermEnded):
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
        except TermEnded:
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


async def test_terms_rise_over_the_loss_of_the_store_too(redis: Redis) -> None:
    before = await store_of(redis, "one").claim(0, ttl_s=5)

    await redis.flushall()
    after = await store_of(redis, "one").claim(0, ttl_s=5)

    assert before is not None
    assert after is not None
    assert after.number > before.number


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


async def test_calls_that_were_throttled_together_cut_the_rate_once(redis: Redis) -> None:
    hit = pace(redis, 80)

    await asyncio.gather(*(hit.throttled("Act") for _ in range(10)))

    kept = await redis.hget(eni_key(CLUSTER, "rate:Act"), "rate")
    assert 40 <= float(kept or 0) < 60


async def test_a_waiting_pod_goes_before_a_join_before_warmth_before_clean_up(
    redis: Redis,
) -> None:
    shared = pace(redis, 40)
    turns: list[Urgency] = []

    async def call(urgency: Urgency) -> None:
        with urgent(urgency):
            await shared.turn("Act")
        turns.append(urgency)

    await asyncio.gather(*(call(Urgency.WARMTH) for _ in range(4)))  # the bucket is empty now
    turns.clear()
    await asyncio.gather(*(call(each) for each in sorted(Urgency, reverse=True) for _ in "12"))

    assert turns == sorted(turns)


async def test_another_replicas_pod_goes_before_our_warmth(redis: Redis) -> None:
    ours, others = pace(redis, 20), pace(redis, 20)
    turns: list[str] = []

    async def call(pacer: RedisPace, urgency: Urgency, name: str) -> None:
        with urgent(urgency):
            await pacer.turn("Act")
        turns.append(name)

    await asyncio.gather(*(call(ours, Urgency.WARMTH, "first") for _ in range(2)))
    await asyncio.gather(
        *(call(others, Urgency.POD, "pod") for _ in range(6)),
        *(call(ours, Urgency.WARMTH, "warmth") for _ in range(6)),
    )

    late = turns[-5:]
    assert late == ["warmth"] * 5, turns


async def test_a_call_whose_caller_went_away_takes_no_turn(redis: Redis) -> None:
    shared = pace(redis, 5, wait_max_s=5)
    await shared.turn("Act")
    gone = [asyncio.create_task(shared.turn("Act")) for _ in range(20)]
    await asyncio.sleep(0)
    for each in gone:
        each.cancel()
    await asyncio.gather(*gone, return_exceptions=True)

    async with asyncio.timeout(2):
        await shared.turn("Act")
    await shared.aclose()


async def test_without_a_store_nobody_gets_a_turn() -> None:
    redis = Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.2)

    with pytest.raises(Unavailable, match="store"):
        await pace(redis, 5).turn("Act")

    await redis.aclose()


async def test_the_instances_of_the_nodes_that_left_last_stay_known(redis: Redis) -> None:
    store = RedisEniStore(
        redis, cluster=CLUSTER, owner="one", clock=SystemClock(), left_kept_max=2
    )
    nodes = [
        replace(NODE, node=NodeName(f"node-{at}"), instance=InstanceId(f"ins-{at}"))
        for at in range(4)
    ]

    for each in nodes:
        await store.remember_left(each)

    known = [await store.instance_of_left(each.node) for each in nodes]
    assert known == [None, None, "ins-2", "ins-3"]


async def test_a_node_that_left_again_is_known_by_its_last_instance(redis: Redis) -> None:
    store = store_of(redis, "one")

    await store.remember_left(NODE)
    await store.remember_left(replace(NODE, instance=InstanceId("ins-two")))

    assert await store.instance_of_left(NODE.node) == "ins-two"
