"""Group commit: the steps that concurrent requests take go to the store as one script.

With ``appendfsync always`` a write costs a disk flush; one flush serves every step of a batch,
and so does one look at the server's run id. While one batch is under way the next collects, so
a lone request never waits. A step that fails fails alone.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from shared.errors import Busy
from shared.store.lease_records import RECORD_VERSION, StoredFormat

from .store_health import store_problem

_LUA: Final = "services.allocator.adapters.lua"
_SHARED: Final = ("prelude", "slots")  # by all steps, in this order
_LOOP: Final = "batch"
_BATCH_MAX: Final = 128
_ARGUMENTS_MAX: Final = 4096  # of a batch: other clients of the store wait while it runs
_WAITING_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    keys: Sequence[str]
    arguments: Sequence[str | int]
    answer: asyncio.Future[Any]


class ScriptPipeline:
    """Takes the steps of ``lua/`` by name, many at a time."""

    def __init__(self, store: Redis, stored_format: StoredFormat = RECORD_VERSION) -> None:
        self._store = store
        self._format = stored_format
        self._hash = ""
        self._waiting: deque[_Call] = deque()
        self._flusher: asyncio.Task[None] | None = None

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """The step's reply. Raises Unavailable when the store did not answer: maybe done;
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
            batch = self._next_batch()
            try:
                replies = await self._execute(batch)
            except (RedisError, OSError) as error:
                replies = [error] * len(batch)
            for call, reply in zip(batch, replies, strict=True):
                _settle(call, reply)

    def _next_batch(self) -> list[_Call]:
        batch = [self._waiting.popleft()]
        arguments = len(batch[0].arguments)
        while self._waiting and len(batch) < _BATCH_MAX:
            arguments += len(self._waiting[0].arguments)
            if arguments > _ARGUMENTS_MAX:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _execute(self, batch: list[_Call]) -> list[Any]:
        keys = list(dict.fromkeys(key for call in batch for key in call.keys))
        # One argument: the client packs thousands of small ones ten times as slowly.
        calls = json.dumps(
            [(call.name, call.keys, [str(each) for each in call.arguments]) for call in batch]
        )
        if not self._hash:
            self._hash = await self._store.script_load(_source(self._format))
        try:
            replies = await self._store.evalsha(self._hash, len(keys), *keys, calls)
        except NoScriptError:  # the server was restarted or flushed: it forgot every script
            self._hash = await self._store.script_load(_source(self._format))
            replies = await self._store.evalsha(self._hash, len(keys), *keys, calls)
        if any(isinstance(each, ReadOnlyError) for each in replies):
            # The master was demoted: the next connection is to the one that follows it.
            await self._store.connection_pool.disconnect()
        return list(replies)


def _settle(call: _Call, reply: Any) -> None:
    if call.answer.done():  # the caller's deadline passed
        return
    if isinstance(reply, Exception):
        call.answer.set_exception(store_problem(call.name, reply))
    else:
        call.answer.set_result(reply)


def _source(stored_format: StoredFormat) -> str:
    """What steps share, every step as a function of its keys and arguments, and the loop."""
    texts = {
        file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
        for file in resources.files(_LUA).iterdir()
        if file.name.endswith(".lua")
    }
    steps = (
        f"steps.{name} = function(KEYS, ARGV)\n{text}\nend\n"
        for name, text in sorted(texts.items())
        if name not in (*_SHARED, _LOOP)
    )
    shared = (texts[name] for name in _SHARED)
    written = f"local STORED_FORMAT = {stored_format}"
    return "\n".join([written, *shared, "local steps = {}", *steps, texts[_LOOP]])
