"""ENIs that one pod has as a whole, on one node: made for pods that wait and for the warm
window, taken back when too many are idle. They share the instance's slots with shared ENIs.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from services.eni_manager.domain import watermarks
from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.exclusive import WholeGrowth, plan_whole
from services.eni_manager.domain.records import Demand, Purpose
from services.eni_manager.domain.watermarks import Watermarks
from services.eni_manager.eni_changes import EniChanges
from services.eni_manager.growing import Growing
from services.eni_manager.node_book import NodeBook
from services.eni_manager.stock import Stock
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudLimit
from shared.errors import BerthError, SubnetFull
from shared.ids import EniId, SubnetId

log = logging.getLogger(__name__)

_PODS_ONLY = Watermarks(warm_min=0, warm_max=0)


class ExclusiveEnis:
    """The caller holds the node's lock."""

    def __init__(
        self,
        book: NodeBook,
        tools: Tools,
        changes: EniChanges,
        stock: Stock,
        growing: Growing,
    ) -> None:
        self._book = book
        self._tools = tools
        self._changes = changes
        self._stock = stock
        self._growing = growing
        self.demand = book.node.exclusive

    def taken(self, count: int) -> None:
        """The agent took so many from an offer."""
        self.demand = replace(self.demand, idle=self.demand.idle + count)

    async def grow(self, *, for_warmth: bool) -> BerthError | None:
        """Why not all that is wanted can be had. Pods that wait come before everybody's warm
        stock, so the caller asks for them first."""
        growth = self._plan(
            self._tools.whole_marks_of(self._book.node) if for_warmth else _PODS_ONLY
        )
        with urgent(Urgency.WARMTH if for_warmth else Urgency.POD):
            made = await asyncio.gather(
                *(self._add(subnet) for subnet in growth.subnets), return_exceptions=True
            )
        failed = [each for each in made if isinstance(each, BaseException)]
        for error in failed:
            if not isinstance(error, (SubnetFull, CloudLimit)):
                raise error
            log.info("plan did not hold", extra={"error": str(error)})
            await self._tools.subnets.refresh_soon()
        if growth.shortage is None and failed:
            return failed[0] if isinstance(failed[0], BerthError) else None
        # Warmth that finds no room is no problem of the node's.
        if growth.shortage is None or not self.demand.waiting:
            return None
        if self._growing.lacks_eni(for_pods=True):
            return self._tools.vpc_enis.shortage(self._book.node.node)
        return growth.shortage

    async def shrink(self) -> None:
        """Take idle ones back: down to the maximum, never while a pod waits for one."""
        spare = watermarks.excess(
            self.demand,
            coming=self._stock.coming(Purpose.EXCLUSIVE),
            marks=self._tools.whole_marks_of(self._book.node),
        )
        limit = self._tools.capacities.enis_max(self._book.node)
        if limit is not None:  # what is beyond it and idle has no place either
            beyond = len(self._book.image.whole()) - limit
            spare = max(spare, min(beyond, self.demand.idle))
        if spare > 0:
            await self.take_back(spare)

    async def take_back(self, count: int, eni: EniId | None = None) -> int:
        """Idle ones, by the agent's choice where none is named, and only those it struck off;
        how many."""
        if not self._tools.capacities.gives_back:
            return 0
        struck = await self._stock.begin_recall(count, eni, Purpose.EXCLUSIVE)
        idle = max(0, self.demand.idle - len(struck))
        self.demand = replace(self.demand, idle=idle)
        await self._changes.removals.finish_all()
        return len(struck)

    async def _add(self, subnet: SubnetId) -> None:
        await self._changes.additions.add([subnet], 0, Purpose.EXCLUSIVE)

    def _plan(self, marks: Watermarks) -> WholeGrowth:
        node = self._book.node
        if node.zone is None or node.vpc is None:
            return WholeGrowth(subnets=(), shortage=None)
        coming = self._stock.coming(Purpose.EXCLUSIVE)
        wanted = watermarks.lacking(self.demand, coming=coming, held=0, marks=marks)
        return plan_whole(
            wanted,
            node.node,
            slots=self._growing.new_eni_slots(for_pods=self.demand.waiting > 0),
            enis_max=node.enis_max or 0,
            subnets=self._growing.usable_subnets(),
        )


def is_idle(demand: Demand) -> bool:
    """Whether an ENI could be given up for others: none waits for it."""
    return demand.idle > 0 and not demand.waiting
