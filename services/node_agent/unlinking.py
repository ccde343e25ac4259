"""Host links of ended pods, deleted after the answer: the kernel takes 28 ms, for one or many.

Rules and routes are gone before, so nothing leads to such a link; while it lingers its address
cools. What a crash leaves behind is found by its name and MAC at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from shared.errors import BerthError
from shared.runtime.pulse import Pulse

log = logging.getLogger(__name__)

_TOGETHER_MAX: Final = 64  # other changes of links wait as long as one deletion lasts


class Unlinker:
    """Deletes links beside the event loop, over a conversation of its own; what comes during a
    deletion is the next one's."""

    def __init__(self, remove_links: Callable[[Sequence[tuple[str, str]]], None]) -> None:
        self._remove_links = remove_links
        self._doomed: deque[tuple[str, str]] = deque()
        self._more = asyncio.Event()
        self.worked = Pulse()

    def later(self, name: str, mac: str) -> None:
        self._doomed.append((name, mac))
        self._more.set()

    @property
    def is_done(self) -> bool:
        return not self._doomed

    async def run(self) -> None:
        while True:
            await self._more.wait()
            while self._doomed:
                batch = list(self._doomed)[:_TOGETHER_MAX]
                try:
                    await asyncio.to_thread(self._remove_links, batch)
                except BerthError as error:
                    log.warning(
                        "links not deleted", extra={"count": len(batch), "error": str(error)}
                    )
                for _ in batch:
                    self._doomed.popleft()
            self._more.clear()
            self.worked.give()
