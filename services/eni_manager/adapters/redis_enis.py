"""EniStore over Redis: one hash per node and kind of record, each write fenced by its term.

Keys below ``berth:{<cluster>}:eni:``: ``nodes`` (node → NodeRecord), ``enis:<node>``,
``addresses:<node>``, ``intents:<node>``, ``shard:<number>``, ``terms``, ``rate:<action>``;
``left`` (node → the instance that it was) and ``left:order`` (nodes by the moment they left).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final, TypeVar, cast
from zlib import crc32

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.domain.ports import Term, TermEnded
from services.eni_manager.domain.records import (
    AddressRecord,
    EniRecord,
    Intent,
    NodeImage,
    NodeRecord,
    Record,
)
from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import ClusterName, InstanceId, NodeName
from shared.store.keys import eni_key, eni_node_key
from shared.store.scripts import load_script

T = TypeVar("T")

_LUA: Final = "services.eni_manager.adapters.lua"
_NODES: Final = TypeAdapter(NodeRecord)
_ENIS: Final = TypeAdapter(EniRecord)
_ADDRESSES: Final = TypeAdapter(AddressRecord)
_INTENTS: Final = TypeAdapter(Intent)
# A term ends here this much of its span before it ends in the store.
_MARGIN: Final = 0.2
_LEFT_KEPT_MAX: Final = 4096  # nodes that have left and whose instances are remembered


def shard_of(node: NodeName, shards: int) -> int:
    return crc32(node.encode()) % shards


class RedisEniStore:
    """Implements EniStore."""

    def __init__(
        self,
        store: Redis,
        *,
        cluster: ClusterName,
        owner: str,
        clock: Clock,
        terms: Redis | None = None,
        left_kept_max: int = _LEFT_KEPT_MAX,
    ) -> None:
        """`terms`: connections that claims have for themselves, so that no crowd of other
        commands delays a renewal."""
        self._store = store
        self._left_kept_max = left_kept_max
        self._cluster = cluster
        self._owner = owner  # one life of one process
        self._clock = clock
        self._claim = load_script(terms or store, _LUA, "claim_shard")
        self._give_up = load_script(store, _LUA, "give_up_shard")
        self._write = load_script(store, _LUA, "write_records")

    async def claim(self, shard: int, *, ttl_s: float) -> Term | None:
        asked_s = self._clock.monotonic_s()  # before the store's own clock starts the term
        number = await _answered(
            self._claim(
                keys=[self._shard_key(shard), eni_key(self._cluster, "terms")],
                args=[self._owner, round(ttl_s * 1000)],
            )
        )
        if not number:
            return None
        ends_at_s = asked_s + ttl_s * (1 - _MARGIN)
        return Term(shard=shard, number=int(number), ends_at_s=ends_at_s)

    async def give_up(self, term: Term) -> None:
        await _answered(
            self._give_up(keys=[self._shard_key(term.shard)], args=[str(term.number)])
        )

    async def load_nodes(self) -> list[NodeRecord]:
        found = await self._hash(eni_key(self._cluster, "nodes"))
        return [_parse(_NODES, value) for value in found]

    async def load(self, node: NodeRecord) -> NodeImage:
        enis, addresses, intents = await asyncio.gather(
            *(
                self._hash(eni_node_key(self._cluster, noun, node.node))
                for noun in ("enis", "addresses", "intents")
            )
        )
        image = NodeImage(node=node)
        image.enis = {each.eni: each for each in (_parse(_ENIS, it) for it in enis)}
        image.addresses = {
            each.address: each for each in (_parse(_ADDRESSES, it) for it in addresses)
        }
        image.intents = {each.intent: each for each in (_parse(_INTENTS, it) for it in intents)}
        return image

    async def write(
        self,
        term: Term,
        node: NodeName,
        *,
        put: Sequence[Record] = (),
        drop: Sequence[Record] = (),
    ) -> None:
        args: list[str | bytes] = [str(term.number)]
        for record in put:
            key, field, adapter = _place(record)
            args += [str(key), field, adapter.dump_json(record)]
        for record in drop:
            key, field, _ = _place(record)
            args += [str(key), field, ""]
        keys = [
            self._shard_key(term.shard),
            eni_key(self._cluster, "nodes"),
            eni_node_key(self._cluster, "enis", node),
            eni_node_key(self._cluster, "addresses", node),
            eni_node_key(self._cluster, "intents", node),
        ]
        if not await _answered(self._write(keys=keys, args=args)):
            raise TermEnded(f"term {term.number} of shard {term.shard} was lost")

    async def remember_left(self, node: NodeRecord) -> None:
        instances, order = eni_key(self._cluster, "left"), eni_key(self._cluster, "left:order")
        now_s = self._clock.now().timestamp()
        await _answered(self._store.hset(instances, node.node, node.instance))
        await _answered(self._store.zadd(order, {node.node: now_s}))
        oldest = await _answered(self._store.zrange(order, 0, -self._left_kept_max - 1))
        if oldest:
            await _answered(self._store.hdel(instances, *oldest))
            await _answered(self._store.zrem(order, *oldest))

    async def instance_of_left(self, node: NodeName) -> InstanceId | None:
        key = eni_key(self._cluster, "left")
        found = await _answered(cast(Awaitable[bytes | None], self._store.hget(key, node)))
        return None if found is None else InstanceId(found.decode())

    async def _hash(self, key: str) -> list[bytes]:
        found = await _answered(cast(Awaitable[dict[bytes, bytes]], self._store.hgetall(key)))
        return list(found.values())

    def _shard_key(self, shard: int) -> str:
        return eni_key(self._cluster, f"shard:{shard}")


def _place(record: Record) -> tuple[int, str, TypeAdapter[Any]]:
    """Which of the write script's keys, which field, and how it is written."""
    match record:
        case NodeRecord():
            return 2, record.node, _NODES
        case EniRecord():
            return 3, record.eni, _ENIS
        case AddressRecord():
            return 4, str(record.address), _ADDRESSES
        case Intent():
            return 5, record.intent, _INTENTS


def _parse(adapter: TypeAdapter[T], value: bytes) -> T:
    try:
        return adapter.validate_json(value)
    except ValidationError as error:
        raise Unavailable(f"store: a record of unknown shape: {error}") from error


async def _answered(command: Awaitable[T]) -> T:
    try:
        return await command
    except (RedisError, OSError) as error:
        raise Unavailable(f"store: {error}") from error
