"""Group commit: the scripts that concurrent requests run go to the store in one pipeline.

With ``appendfsync always`` a write costs a disk flush; one flush serves every script of a
pipeline. While one pipeline is under way the next collects, so a lone request never waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from shared.errors import Busy

from .store_health import store_problem

_LUA: Final = "services.allocator.adapters.lua"
_BATCH_MAX: Final = 64
_WAITING_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    keys: Sequence[str]
    arguments: Sequence[str | int]
    answer: asyncio.Future[Any]


class ScriptPipeline:
    """Runs the scripts of ``lua/`` by name, many at a time."""

    def __init__(self, store: Redis) -> None:
        self._store = store
        self._sources: dict[str, str] = {}
        self._hashes: dict[str, str] = {}
        self._waiting: deque[_Call] = deque()
        self._flusher: asyncio.Task[None] | None = None

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """The script's reply. Raises Unavailable when the store did not answer: maybe done;
        StorageFull when it refused: not done."""
        if len(self._waiting) >= _WAITING_MAX:
            raise Busy(f"{_WAITING_MAX} steps wait for the store")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(name, keys, arguments, answer))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="store pipeline")
        return await answer

    async def _flush(self) -> None:
        while self._waiting:
            count = min(_BATCH_MAX, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
            try:
                replies = await self._execute(batch)
            except (RedisError, OSError) as error:
                replies = [error] * len(batch)
            for call, reply in zip(batch, replies, strict=True):
                self._settle(call, reply)

    async def _execute(self, batch: list[_Call]) -> list[Any]:
        for name in {call.name for call in batch} - self._hashes.keys():
            self._hashes[name] = await self._store.script_load(self._source(name))
        replies = await self._evaluate(batch)
        lost = [
            index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)
        ]
        if lost:  # the server was restarted or flushed: it forgot every script
            again = [batch[index] for index in lost]
            for name in {call.name for call in again}:
                self._hashes[name] = await self._store.script_load(self._source(name))
            for index, reply in zip(lost, await self._evaluate(again), strict=True):
                replies[index] = reply
        return replies

    async def _evaluate(self, batch: list[_Call]) -> list[Any]:
        pipeline = self._store.pipeline(transaction=False)
        for call in batch:
            pipeline.evalsha(
                self._hashes[call.name], len(call.keys), *call.keys, *call.arguments
            )
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    def _settle(self, call: _Call, reply: Any) -> None:
        if call.answer.done():  # the caller's deadline passed
            return
        if isinstance(reply, Exception):
            call.answer.set_exception(store_problem(call.name, reply))
        else:
            call.answer.set_result(reply)

    def _source(self, name: str) -> str:
        if name not in self._sources:
            folder = resources.files(_LUA)
            self._sources[name] = "".join(
                folder.joinpath(f"{part}.lua").read_text(encoding="utf-8")
                for part in ("prelude", name)
            )
        return self._sources[name]
