"""Group commit: many steps, few round trips; a lost caller or script costs nobody else."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from services.allocator.adapters.pipeline import ScriptPipeline
from shared.errors import Unavailable
from tests.support.servers import RedisServer

KEYS = ["berth:{test}:lease:unjournaled"]


async def mark(redis: Redis, count: int) -> None:
    await redis.hset(KEYS[0], mapping={f"pod-{n}": n for n in range(count)})


def clear(pipeline: ScriptPipeline, number: int) -> asyncio.Task[int]:
    return asyncio.create_task(pipeline.run("journaled", KEYS, [f"pod-{number}", number]))


async def test_each_of_many_steps_gets_its_own_answer(redis: Redis) -> None:
    await mark(redis, 200)
    pipeline = ScriptPipeline(redis)

    answers = await asyncio.gather(*(clear(pipeline, n) for n in range(0, 400)))

    assert answers == [1] * 200 + [0] * 200
    assert await redis.hlen(KEYS[0]) == 0


async def test_concurrent_steps_reach_the_disk_together(redis: Redis) -> None:
    await mark(redis, 128)
    pipeline = ScriptPipeline(redis)
    await clear(pipeline, 999)  # the script is loaded
    before = (await redis.info("stats"))["total_reads_processed"]

    await asyncio.gather(*(clear(pipeline, n) for n in range(128)))

    reads = (await redis.info("stats"))["total_reads_processed"] - before
    assert await redis.hlen(KEYS[0]) == 0
    assert reads < 32, "128 steps took about as many round trips"


async def test_a_step_that_fails_fails_alone(redis: Redis) -> None:
    await mark(redis, 2)
    await redis.set("berth:{test}:lease:text", "no hash")
    pipeline = ScriptPipeline(redis)

    wrong = pipeline.run("journaled", ["berth:{test}:lease:text"], ["pod-0", 0])
    unknown = pipeline.run("no_such_step", [], [])
    answers = await asyncio.gather(
        clear(pipeline, 0), wrong, unknown, clear(pipeline, 1), return_exceptions=True
    )

    assert [answers[0], answers[3]] == [1, 1]
    assert [type(answer) for answer in answers[1:3]] == [Unavailable, Unavailable]


async def test_what_a_step_is_given_arrives_as_it_was(redis: Redis) -> None:
    pod = "gr\u00f6\u00dfe \"\\\n\x00\U0001f40b'"
    await redis.hset(KEYS[0], pod, "7")
    pipeline = ScriptPipeline(redis)

    assert await pipeline.run("journaled", KEYS, [pod, 7]) == 1


async def test_a_server_that_forgot_the_script_is_told_again(redis: Redis) -> None:
    await mark(redis, 2)
    pipeline = ScriptPipeline(redis)
    await clear(pipeline, 0)

    await redis.script_flush()

    assert await clear(pipeline, 1) == 1


async def test_a_caller_that_left_takes_nobody_with_it(redis: Redis) -> None:
    await mark(redis, 2)
    pipeline = ScriptPipeline(redis)
    leaving, staying = clear(pipeline, 0), clear(pipeline, 1)
    await asyncio.sleep(0)

    leaving.cancel()

    assert await staying == 1


async def test_a_dead_server_is_unavailable_and_a_living_one_serves_on(
    redis: Redis, redis_server: RedisServer
) -> None:
    await mark(redis, 2)
    pipeline = ScriptPipeline(redis)
    await clear(pipeline, 0)
    redis_server.kill()

    with pytest.raises(Unavailable, match="journaled"):
        await clear(pipeline, 1)

    await redis_server.restart()
    assert await clear(pipeline, 1) == 1
