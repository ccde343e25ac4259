"""A node leaves, since its instance is gone for good, or since somebody says that it is: its
book is closed.

Its ENIs stay in the VPC, on no instance, with the addresses of fixed leases on them: held there
until a pod comes back elsewhere. What nobody needs any more is the sweeper's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from services.eni_manager.domain.records import IntentKind
from services.eni_manager.eni_changes import EniChanges
from services.eni_manager.eni_tags import TAG_CLUSTER
from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools
from shared.cloud.words import Eni
from shared.errors import EpochLost, Unavailable
from shared.ids import EniId

log = logging.getLogger(__name__)


class Departure:
    """The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools, changes: EniChanges) -> None:
        self._book = book
        self._tools = tools
        self._changes = changes
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
        await self._leave(f"instance {self._book.node.instance} is gone")
        return True

    async def leave(self, reason: str) -> list[EniId]:
        """By somebody's word: what is still on the instance leaves it first. The ENIs that
        did. After a failure in between it is safe to repeat."""
        name, check = self._book.node.instance, self._book.check_term
        found = await self._tools.call(check, lambda: self._tools.enis_on.get(name)) or []
        ours = [
            each
            for each in found
            if not each.is_primary and each.tags.get(TAG_CLUSTER) == self._tools.cluster
        ]
        if ours and not self._tools.capacities.gives_back:
            raise Unavailable(
                f"cloud calls that give back are switched off: {len(ours)} ENIs stay on {name};"
                " allow them (berth capacity calls all), then say it again"
            )
        await self._let_cool(ours)
        moves = self._book.image.intents.values()
        await self._changes.addresses.end_moves(
            [each for each in moves if each.kind is IntentKind.MOVE]
        )
        detach = self._changes.removals.detach
        ended = await asyncio.gather(
            *(detach(each.eni, self._tools.new_id()) for each in ours), return_exceptions=True
        )
        for each in ended:
            if isinstance(each, BaseException):
                raise each
        await self._leave(reason)
        return [each.eni for each in ours]

    async def _let_cool(self, enis: Sequence[Eni]) -> None:
        """What its pods used rests before another node is given it: connections to a pod that
        has ended may still come in."""
        addresses = [it.address for each in enis for it in each.secondary]
        try:
            leased = await self._tools.leases.leased_among(addresses)
        except EpochLost as error:
            raise Unavailable(f"the leases cannot be asked: {error}") from error
        until = self._tools.clock.now() + self._tools.limits.cooling
        for each in enis:
            idle = [it.address for it in each.secondary if it.address not in leased]
            await self._tools.embargoes.begin(each.eni, idle, until)

    async def _leave(self, reason: str) -> None:
        image = self._book.image
        node = self._book.node
        await self._book.close()
        self.has_left = True
        log.warning(
            "node has left",
            extra={
                "node": node.node,
                "instance": node.instance,
                "enis": sorted(image.enis),
                "reason": reason,
            },
        )
        self._tools.events.node("left", node, reason)
