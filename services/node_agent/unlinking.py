"""Host links of ended pods, deleted after the answer: the kernel takes 28 ms for each.

Rules and routes are gone before, so nothing leads to such a link; while it lingers its address
cools. What a crash leaves behind is found by its name and MAC at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from shared.errors import BerthError
from shared.runtime.pulse import Pulse

log = logging.getLogger(__name__)


class Unlinker:
    """Deletes one link after another, beside the event loop, over a conversation of its own."""

    def __init__(self, remove_link: Callable[[str, str], None]) -> None:
        self._remove_link = remove_link
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
                name, mac = self._doomed[0]
                try:
                    await asyncio.to_thread(self._remove_link, name, mac)
                except BerthError as error:
                    log.warning("link not deleted", extra={"link": name, "error": str(error)})
                self._doomed.popleft()
            self._more.clear()
            self.worked.give()
