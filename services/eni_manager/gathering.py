"""Questions that are asked at nearly the same time become one call for many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

from services.eni_manager.domain.errands import Urgency, urgency_now, urgent
from shared.errors import BerthError
from shared.runtime.loops import cancel, spawn

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Gathering(Generic[K, V]):
    """`ask` is called with at most `most` keys; a key that its answer leaves out is None."""

    def __init__(
        self,
        ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        *,
        most: int,
        wait_s: float,
    ) -> None:
        self._ask = ask
        self._most = most
        self._wait_s = wait_s
        self._waiting: list[tuple[K, Urgency, asyncio.Future[V | None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._asking: set[asyncio.Task[Any]] = set()

    async def get(self, key: K) -> V | None:
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[V | None] = loop.create_future()
        self._waiting.append((key, urgency_now(), mine))
        if len({each for each, _, _ in self._waiting}) >= self._most:
            self._send()
        elif self._timer is None:
            # In a context of its own: the asker's right to change things is not the batch's.
            self._timer = loop.call_later(self._wait_s, self._send, context=Context())
        return await mine

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await cancel(self._asking)

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        Context().run(spawn, self._asking, self._answer(batch), name="gathered question")

    async def _answer(self, batch: list[tuple[K, Urgency, asyncio.Future[V | None]]]) -> None:
        keys = list(dict.fromkeys(key for key, _, _ in batch))
        try:
            with urgent(min(urgency for _, urgency, _ in batch)):
                answers = await self._ask(keys)
        except BerthError as error:
            for _, _, asker in batch:
                if not asker.done():
                    asker.set_exception(error)
            return
        for key, _, asker in batch:
            if not asker.done():
                asker.set_result(answers.get(key))
