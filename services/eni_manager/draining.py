"""ENIs in subnets that are drained, or of a cluster that is disabled: emptied, then removed.

Idle addresses are taken back from the agent; what pods use, and what leases keep, stays until
it ends. An ENI goes once nothing is left on it.
"""

from __future__ import annotations

from dataclasses import replace

from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.records import EniRecord, Hold, IntentKind
from services.eni_manager.eni_changes import EniChanges
from services.eni_manager.exclusive_enis import ExclusiveEnis
from services.eni_manager.node_book import NodeBook
from services.eni_manager.releasing import Releasing
from services.eni_manager.stock import Stock
from services.eni_manager.tools import Tools
from shared.ids import EniId


class Draining:
    """One node's. The caller holds the node's lock."""

    def __init__(
        self,
        book: NodeBook,
        tools: Tools,
        changes: EniChanges,
        stock: Stock,
        releasing: Releasing,
        whole: ExclusiveEnis,
    ) -> None:
        self._book = book
        self._tools = tools
        self._changes = changes
        self._stock = stock
        self._releasing = releasing
        self._whole = whole

    async def drain(self) -> None:
        """Raises Unavailable when the agent does not answer: the next round goes on."""
        leaving = self._leaving()
        if not leaving:
            return
        with urgent(Urgency.CLEAN_UP):
            for each in leaving:
                await self._empty(each)
                if not self._book.image.on(each.eni):
                    await self._begin_removal(each.eni)
            await self._changes.removals.finish_all()

    def _leaving(self) -> list[EniRecord]:
        image, record = self._book.image, self._tools.record
        return [
            each
            for each in (*image.secondary(), *image.whole())
            if record.is_draining(each.subnet)
        ]

    async def _empty(self, eni: EniRecord) -> None:
        on = self._book.image.on(eni.eni)
        given = sum(each.hold is Hold.GIVEN for each in on)
        if given and eni.is_exclusive:
            await self._whole.take_back(1, eni.eni)
        elif given:
            await self._releasing.recall(given, eni.eni)
        if self._tools.record.is_disabled:
            await self._unassign_doubtful(eni.eni)

    async def _unassign_doubtful(self, eni: EniId) -> None:
        """Of a cluster without pods and leases, what is kept back in doubt is nobody's, unless
        its agent says otherwise."""
        held = self._book.image.on(eni)
        doubtful = [each for each in held if each.hold is Hold.QUARANTINED]
        if not doubtful or len(doubtful) < len(held):
            return
        used = await self._tools.agents.inventory(self._book.node.node)
        leased = await self._tools.leases.leased_among([each.address for each in doubtful])
        if any(each.address in used | leased for each in doubtful):
            return
        intent = self._book.begin(
            self._tools.new_id(),
            IntentKind.UNASSIGN,
            eni=eni,
            addresses=tuple(each.address for each in doubtful),
        )
        gone = [replace(each, hold=Hold.UNASSIGNING) for each in doubtful]
        await self._book.write(put=[*gone, intent])
        await self._changes.finish(intent)

    async def _begin_removal(self, eni: EniId) -> None:
        """The agent is told first that the ENI is no more."""
        intents = self._book.image.intents.values()
        if any(each.eni == eni or each.source == eni for each in intents):
            return  # an address may be on its way to it
        await self._stock.offer(without=eni)
        if not self._book.image.on(eni):
            await self._changes.removals.begin(eni)
