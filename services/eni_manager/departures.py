"""A node whose instance is gone for good leaves: its book is closed, and nothing is undone.

Its ENIs stay in the VPC, detached, with the addresses of fixed leases on them: held there until
a pod comes back elsewhere. What nobody needs any more is the sweeper's.
"""

from __future__ import annotations

import logging

from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools

log = logging.getLogger(__name__)


class Departure:
    """The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools
        self._gone_since_s: float | None = None
        self.has_left = False

    def is_here(self) -> None:
        """The cloud showed the instance."""
        self._gone_since_s = None

    async def is_gone(self) -> bool:
        """The cloud shows no such instance: whether that has been so for the grace time, over
        at least two observations, and the node has left."""
        now_s = self._tools.clock.monotonic_s()
        if self._gone_since_s is None:
            self._gone_since_s = now_s
            return False
        if now_s - self._gone_since_s < self._tools.limits.gone_after_s:
            return False
        await self._leave()
        return True

    async def _leave(self) -> None:
        image = self._book.image
        node = self._book.node
        await self._book.close()
        self.has_left = True
        log.warning(
            "node has left: its instance is gone",
            extra={"node": node.node, "instance": node.instance, "enis": sorted(image.enis)},
        )
        self._tools.events.node("left", node, f"instance {node.instance} is gone")
