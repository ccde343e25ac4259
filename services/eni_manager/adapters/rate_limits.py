"""Pace by token buckets in the store: one per action of the account, shared by all replicas."""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.adapters.lanes import Lane
from services.eni_manager.domain.errands import Urgency, urgency_now
from shared.errors import Unavailable
from shared.ids import ClusterName
from shared.store.keys import eni_key
from shared.store.scripts import load_script

_LUA = "services.eni_manager.adapters.lua"


class RedisPace:
    """Implements Pace. A call that would wait longer than `wait_max_s` is refused."""

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
        self._lanes: dict[str, Lane] = {}
        self._take = load_script(store, _LUA, "take_tokens")

    async def turn(self, action: str) -> None:
        await self._lane(action).turn(urgency_now())

    async def throttled(self, action: str) -> None:
        await self._run("throttled", action, urgency_now(), 0)

    async def aclose(self) -> None:
        for lane in self._lanes.values():
            await lane.aclose()

    def _lane(self, action: str) -> Lane:
        found = self._lanes.get(action)
        if found is None:

            async def take(urgency: Urgency, wanted: int) -> tuple[int, float]:
                return await self._run("take", action, urgency, wanted)

            found = self._lanes[action] = Lane(
                action, take, rate_per_s=self._rate(action), wait_max_s=self._wait_max_s
            )
        return found

    def _rate(self, action: str) -> float:
        return self._rates_per_s.get(action, self._default_per_s)

    async def _run(
        self, verb: str, action: str, urgency: Urgency, wanted: int
    ) -> tuple[int, float]:
        try:
            granted, wait_ms = await self._take(
                keys=[eni_key(self._cluster, f"rate:{action}")],
                args=[verb, str(self._rate(action)), int(urgency), wanted],
            )
        except (RedisError, OSError) as error:
            raise Unavailable(f"store: {error}") from error
        return int(granted), float(wait_ms) / 1000
