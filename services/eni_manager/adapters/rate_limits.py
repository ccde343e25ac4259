"""Pace by token buckets in the store: one per action of the account, shared by all replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.ids import ClusterName
from shared.store.keys import eni_key
from shared.store.scripts import load_script

_LUA = "services.eni_manager.adapters.lua"


class RedisPace:
    """Implements Pace. A call that would wait longer than `wait_max_s` is refused at once."""

    def __init__(
        self,
        store: Redis,
        *,
        cluster: ClusterName,
        rates_per_s: Mapping[str, float],
        default_per_s: float,
        wait_max_s: float,
    ) -> None:
        self._cluster = cluster
        self._rates_per_s = rates_per_s
        self._default_per_s = default_per_s
        self._wait_max_s = wait_max_s
        self._take = load_script(store, _LUA, "take_token")

    async def turn(self, action: str) -> None:
        wait_s = await self._run("take", action)
        if wait_s > self._wait_max_s:
            raise Unavailable(
                f"{action}: {wait_s:.1f} s to wait under the account's rate limit, more than"
                f" {self._wait_max_s:.1f} s"
            )
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def throttled(self, action: str) -> None:
        await self._run("throttled", action)

    async def _run(self, verb: str, action: str) -> float:
        rate = self._rates_per_s.get(action, self._default_per_s)
        try:
            wait_ms = await self._take(
                keys=[eni_key(self._cluster, f"rate:{action}")], args=[verb, str(rate)]
            )
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        return float(wait_ms) / 1000
