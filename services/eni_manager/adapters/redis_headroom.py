"""Headroom over the store: one hash per subnet, shared by every replica of the cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Final, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.domain.ports import Taken
from shared.errors import Unavailable
from shared.ids import ClusterName, NodeName, SubnetId, encode_token
from shared.store.keys import eni_key
from shared.store.scripts import load_script

T = TypeVar("T")

_LUA: Final = "services.eni_manager.adapters.lua"
# Longer than a call and its repeats take; its intent is finished by then, or taken over.
_LOST_AFTER_MS: Final = 180_000


class RedisHeadroom:
    """Implements Headroom."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._cluster = cluster
        self._take = load_script(store, _LUA, "take_headroom")
        self._settle = load_script(store, _LUA, "settle_headroom")
        self._tell = load_script(store, _LUA, "tell_headroom")

    async def moment_ms(self) -> int:
        seconds, microseconds = await _answered(self._store.time())
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def tell(self, free: Mapping[SubnetId, int], *, asked_ms: int) -> None:
        for subnet, count in free.items():
            await _answered(self._tell(keys=[self._key(subnet)], args=[count, asked_ms]))

    async def take(
        self, call: str, subnets: Sequence[SubnetId], *, least: int, most: int
    ) -> Taken | None:
        at, count, left = await _answered(
            self._take(
                keys=[self._key(each) for each in subnets],
                args=[call, least, most, _LOST_AFTER_MS],
            )
        )
        if not at:
            return None
        return Taken(subnet=subnets[int(at) - 1], count=int(count), left=int(left))

    async def settle(self, call: str, subnet: SubnetId) -> None:
        await _answered(self._settle(keys=[self._key(subnet)], args=[call]))

    async def give_back(self, call: str, subnet: SubnetId) -> None:
        await _answered(self._store.hdel(self._key(subnet), f"call:{call}"))

    async def drop_lost(
        self,
        subnets: Sequence[SubnetId],
        written: Mapping[NodeName, Collection[str]],
        *,
        before_ms: int,
    ) -> None:
        for subnet in subnets:
            kept = await _answered(
                cast(Awaitable[dict[bytes, bytes]], self._store.hgetall(self._key(subnet)))
            )
            lost = [
                field
                for field, value in kept.items()
                if field.startswith(b"call:") and _is_lost(field, value, written, before_ms)
            ]
            if lost:
                await _answered(self._store.hdel(self._key(subnet), *lost))

    def _key(self, subnet: SubnetId) -> str:
        return eni_key(self._cluster, f"headroom:{encode_token(subnet)}")


def _is_lost(
    field: bytes,
    value: bytes,
    written: Mapping[NodeName, Collection[str]],
    before_ms: int,
) -> bool:
    node, _, intent = field.decode().removeprefix("call:").rpartition("/")
    _, begun_ms, answered_ms = value.decode().split("|")
    is_open = int(answered_ms) == 0 and int(begun_ms) < before_ms
    return is_open and NodeName(node) in written and intent not in written[NodeName(node)]


async def _answered(command: Awaitable[T]) -> T:
    try:
        return await command
    except (RedisError, OSError) as error:
        raise Unavailable(f"store: {error}") from error
