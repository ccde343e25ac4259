"""The calls of one action that wait for their turn, the most urgent first.

One task per lane asks for tokens, for all that wait: the store is asked a few times a second
however many wait, and who goes next is decided here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from services.eni_manager.domain.errands import Urgency
from shared.errors import Unavailable
from shared.runtime.loops import cancel

# (urgency, wanted) -> granted, and how long to wait before asking for the others.
Take = Callable[[Urgency, int], Awaitable[tuple[int, float]]]


class Lane:
    def __init__(
        self, action: str, take: Take, *, rate_per_s: float, wait_max_s: float
    ) -> None:
        self._action = action
        self._take = take
        self._rate_per_s = rate_per_s
        self._wait_max_s = wait_max_s
        self._waiting: dict[Urgency, deque[asyncio.Future[None]]] = {
            urgency: deque() for urgency in Urgency
        }
        self._serving: asyncio.Task[None] | None = None

    async def turn(self, urgency: Urgency) -> None:
        """Raises Unavailable when the turn would come, or comes, too late."""
        ahead = sum(len(self._waiting[each]) for each in Urgency if each <= urgency)
        if ahead / self._rate_per_s > self._wait_max_s:
            raise self._too_late(f"{ahead} calls are ahead of it")
        mine = asyncio.get_running_loop().create_future()
        self._waiting[urgency].append(mine)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve(), name=f"lane {self._action}")
        try:
            async with asyncio.timeout(self._wait_max_s):
                await mine
        except TimeoutError:
            raise self._too_late("others were more urgent") from None

    async def aclose(self) -> None:
        if self._serving is not None:
            await cancel([self._serving])

    async def _serve(self) -> None:
        while (urgency := self._most_urgent()) is not None:
            queue = self._waiting[urgency]
            try:
                granted, wait_s = await self._take(urgency, len(queue))
            except Unavailable as error:
                self._refuse_all(error)
                return
            while granted and queue:
                turn = queue.popleft()
                if not turn.done():  # else its caller has given up
                    turn.set_result(None)
                    granted -= 1
            if wait_s > 0:
                await asyncio.sleep(wait_s)

    def _most_urgent(self) -> Urgency | None:
        for urgency, queue in self._waiting.items():
            while queue and queue[0].done():
                queue.popleft()
            if queue:
                return urgency
        return None

    def _refuse_all(self, error: Unavailable) -> None:
        for queue in self._waiting.values():
            for turn in queue:
                if not turn.done():
                    turn.set_exception(error)
            queue.clear()

    def _too_late(self, why: str) -> Unavailable:
        return Unavailable(
            f"{self._action}: more than {self._wait_max_s:.1f} s to wait under the account's"
            f" rate limit of {self._rate_per_s:g} a second: {why}"
        )
