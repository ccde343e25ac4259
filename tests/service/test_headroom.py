"""What subnets have left, counted for every replica in one store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from redis.asyncio import Redis

from services.eni_manager.adapters.redis_embargoes import RedisEmbargoes
from services.eni_manager.adapters.redis_headroom import RedisHeadroom
from shared.clock import SystemClock
from shared.ids import ClusterName, EniId, NodeName, SubnetId

CLUSTER = ClusterName("tests")
A, B = SubnetId("subnet-a"), SubnetId("subnet-b")


def headroom(redis: Redis) -> RedisHeadroom:
    return RedisHeadroom(redis, cluster=CLUSTER)


async def told(redis: Redis, free: dict[SubnetId, int]) -> RedisHeadroom:
    made = headroom(redis)
    await made.tell(free, asked_ms=await made.moment_ms())
    return made


async def test_calls_of_many_replicas_never_take_more_than_there_is(redis: Redis) -> None:
    await told(redis, {A: 37, B: 20})
    replicas = [headroom(redis) for _ in range(3)]

    taken = await asyncio.gather(
        *(replicas[at % 3].take(f"call-{at}", [A, B], least=2, most=4) for at in range(40))
    )

    granted = [each for each in taken if each is not None]
    assert sum(each.count for each in granted if each.subnet == A) in (36, 37)
    assert sum(each.count for each in granted if each.subnet == B) == 20
    assert all(each.count >= 2 for each in granted)


async def test_the_subnet_with_most_left_is_taken_from(redis: Redis) -> None:
    made = await told(redis, {A: 10, B: 8})

    first = await made.take("one", [A, B], least=1, most=5)
    second = await made.take("two", [A, B], least=1, most=5)

    assert first is not None
    assert second is not None
    assert (first.subnet, first.left, second.subnet, second.left) == (A, 5, B, 3)


async def test_the_same_call_is_counted_once(redis: Redis) -> None:
    made = await told(redis, {A: 10})

    first = await made.take("one", [A], least=1, most=4)
    again = await made.take("one", [A], least=1, most=4)

    assert first is not None
    assert again is not None
    assert (again.count, again.left) == (first.count, first.left) == (4, 6)


async def test_an_answered_call_counts_until_the_cloud_was_asked_again(redis: Redis) -> None:
    made = await told(redis, {A: 10})
    await made.take("one", [A], least=1, most=4)
    asked_before_ms = await made.moment_ms()
    await asyncio.sleep(0.005)
    await made.settle("one", A)

    await made.tell({A: 10}, asked_ms=asked_before_ms)
    still = await made.take("two", [A], least=7, most=7)
    await asyncio.sleep(0.005)
    await made.tell({A: 6}, asked_ms=await made.moment_ms())
    then = await made.take("three", [A], least=6, most=6)

    assert still is None, "that look may have come before the call"
    assert then is not None


async def test_what_a_call_did_not_take_is_there_for_others(redis: Redis) -> None:
    made = await told(redis, {A: 4})
    await made.take("one", [A], least=1, most=4)
    assert await made.take("two", [A], least=1, most=4) is None

    await made.give_back("one", A)

    assert await made.take("two", [A], least=1, most=4) is not None


async def test_an_older_look_at_the_cloud_changes_nothing(redis: Redis) -> None:
    made = headroom(redis)
    older_ms = await made.moment_ms()
    await asyncio.sleep(0.002)
    await made.tell({A: 3}, asked_ms=await made.moment_ms())

    await made.tell({A: 100}, asked_ms=older_ms)

    assert await made.take("one", [A], least=4, most=4) is None


async def test_a_subnet_that_nobody_asked_the_cloud_about_gives_nothing(redis: Redis) -> None:
    assert await headroom(redis).take("one", [A], least=1, most=1) is None


async def test_an_embargo_ends_at_its_time_and_is_for_one_eni_and_address(redis: Redis) -> None:
    embargoes = RedisEmbargoes(redis, cluster=CLUSTER, clock=SystemClock())
    address, other = IPv4Address("10.0.1.5"), IPv4Address("10.0.1.6")
    eni = EniId("eni-1")
    now = datetime.now(UTC)

    await embargoes.begin(eni, [address], now + timedelta(seconds=60))
    await embargoes.begin(eni, [other], now - timedelta(seconds=1))

    asked = [(eni, address), (eni, other), (EniId("eni-2"), address)]
    assert list(await embargoes.among(asked)) == [(eni, address)]


async def test_what_a_former_owner_meant_to_call_and_never_wrote_down_is_free_again(
    redis: Redis,
) -> None:
    made = await told(redis, {A: 10})
    for call in ("node-1/lost", "node-1/written", "node-2/lost", "node-1/answered"):
        await made.take(call, [A], least=1, most=2)
    await made.settle("node-1/answered", A)
    before_ms = await made.moment_ms() + 1
    await asyncio.sleep(0.002)  # by the store's clock
    await made.take("node-1/mine", [A], least=1, most=1)

    await made.drop_lost([A], {NodeName("node-1"): {"written"}}, before_ms=before_ms)

    taken = await made.take("next", [A], least=1, most=10)
    assert taken is not None
    assert taken.count == 3, "what was left, and what node-1's former owner had lost"
