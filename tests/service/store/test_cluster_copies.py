"""The store's copy of the cluster's record only ever becomes newer."""

from __future__ import annotations

import json

from redis.asyncio import Redis

from services.allocator.adapters.pipeline import ScriptPipeline

KEY = "berth:{test}:lease:cluster"


async def test_an_older_record_does_not_come_over_a_newer(redis: Redis) -> None:
    scripts = ScriptPipeline(redis)

    kept = [
        await scripts.run("keep_cluster", [KEY], [json.dumps({"revision": each}), each])
        for each in (2, 1, 2, 3)
    ]

    assert kept == [1, 0, 0, 1]
    assert await redis.get(KEY) == b'{"revision": 3}'
