"""Room in a full subnet: retained leases make way for pods that wait, where that is allowed."""

from __future__ import annotations

import logging
from typing import Final

from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools
from shared.errors import BerthError, SubnetFull

log = logging.getLogger(__name__)

_EVERY_S: Final = 10.0  # what was ended is handed over and unassigned before more is asked for
_COUNT_MAX: Final = 32


class Room:
    """One node's asking."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools
        self._asked_at_s = -_EVERY_S

    async def ask(self, shortage: BerthError | None, waiting: int) -> None:
        """When pods wait and no subnet has an address: then only a lease's end can help."""
        if not isinstance(shortage, SubnetFull) or not waiting:
            return
        now_s = self._tools.clock.monotonic_s()
        if now_s - self._asked_at_s < _EVERY_S:
            return
        self._asked_at_s = now_s
        node = self._book.node
        assert node.vpc is not None, "a node that grows has joined"
        subnets = [
            each.subnet
            for each in self._tools.subnets.in_vpc(node.vpc)
            if each.zone == node.zone
        ]
        try:
            ended = await self._tools.allocators.make_room(
                node.node, subnets, min(waiting, _COUNT_MAX)
            )
        except BerthError as error:
            log.info("no room was made", extra={"node": node.node, "error": str(error)})
            return
        if ended:
            log.warning(
                "retained leases make way", extra={"node": node.node, "count": len(ended)}
            )
