"""A node gives back what it does not need: idle addresses, then the ENIs they leave empty."""

from __future__ import annotations

from typing import Final

from services.eni_manager.demand_view import DemandView
from services.eni_manager.domain import watermarks
from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.records import IntentKind, Purpose
from services.eni_manager.domain.releases import EniLoad, drain_order, surplus, unneeded
from services.eni_manager.eni_changes import EniChanges
from services.eni_manager.node_book import NodeBook
from services.eni_manager.stock import Stock
from services.eni_manager.tools import Tools
from shared.ids import EniId

_BEYOND_EVERY_S: Final = 10.0  # an agent is asked again for what its pods used before


class Releasing:
    """The caller holds the node's lock."""

    def __init__(
        self,
        book: NodeBook,
        tools: Tools,
        changes: EniChanges,
        stock: Stock,
        demand: DemandView,
    ) -> None:
        self._book = book
        self._tools = tools
        self._changes = changes
        self._stock = stock
        self._demand = demand
        self._next_at_s = 0.0  # of a slow release
        self._beyond_at_s = 0.0  # of what limits leave no place for
        self._empty_since_s: dict[EniId, float] = {}

    async def recall(self, count: int, eni: EniId | None = None) -> int:
        """Take idle addresses back from the agent and unassign them; how many."""
        if not self._tools.capacities.gives_back:
            return 0
        addresses = await self._stock.begin_recall(count, eni)
        self._demand.recalled(len(addresses))
        for intent in list(self._book.image.intents.values()):
            if intent.kind is IntentKind.UNASSIGN:
                await self._changes.finish(intent)
        return len(addresses)

    async def release(self) -> None:
        """What is idle above the maximum, at the pace that is set, the emptiest ENI first."""
        with urgent(Urgency.CLEAN_UP):
            if not self._demand.is_doubtful:
                await self._give_back_beyond()
                await self._give_back()
                await self._remove_empty()
            await self._changes.removals.finish_all()

    async def give_way(self) -> None:
        """Pods of another node wait for an ENI, and the VPC has as many as it may: the emptiest
        one here goes, where nobody uses or waits for what is on it."""
        demand, vpc_enis, node = self._demand.demand, self._tools.vpc_enis, self._book.node.node
        if not vpc_enis.is_wanted or self._demand.is_doubtful or demand.has_waiting:
            return
        loads = self._loads()
        emptiest = min(loads, key=lambda it: (it.count, it.eni), default=None)
        if emptiest is None or emptiest.count > demand.idle or not await vpc_enis.take(node):
            return
        with urgent(Urgency.POD):
            await self._let_go(emptiest)
            if not self._book.image.on(emptiest.eni):
                await self._changes.removals.finish_all()
                vpc_enis.gave(node)

    async def _give_back_beyond(self) -> None:
        """What somebody's limits leave no place for, as far as no pod uses it: at once."""
        node, capacities = self._book.node, self._tools.capacities
        enis_max, each_max = capacities.enis_max(node), capacities.addresses_per_eni_max(node)
        now_s = self._tools.clock.monotonic_s()
        if (enis_max is None and each_max is None) or now_s < self._beyond_at_s:
            return
        loads = self._loads()
        leaving = [] if enis_max is None else surplus(loads, enis_max=enis_max)
        over = [] if each_max is None else [each for each in loads if each.count > each_max]
        if leaving or over:
            self._beyond_at_s = now_s + _BEYOND_EVERY_S
        for each in over:
            if each not in leaving:
                await self.recall(each.count - (each_max or 0), each.eni)
        for each in leaving:
            await self._let_go(each)

    async def _let_go(self, load: EniLoad) -> None:
        """Of what is idle on an ENI, and of the ENI itself once nothing is left on it."""
        if load.count:
            await self.recall(load.count, load.eni)
        if self._book.image.on(load.eni):
            return  # a pod uses it
        await self._stock.offer(without=load.eni)  # the agent is told first that it is no more
        if not self._book.image.on(load.eni):
            await self._changes.removals.begin(load.eni)

    async def _give_back(self) -> None:
        spare = watermarks.excess(
            self._demand.demand,
            coming=self._stock.coming(Purpose.SHARED),
            marks=self._tools.marks(self._book.node),
        )
        if not spare:
            return
        pace = self._tools.capacities.release(self._book.node)
        now_s = self._tools.clock.monotonic_s()
        if not pace.is_quick:
            if now_s < self._next_at_s:
                return
            self._next_at_s = now_s + pace.every_s
            spare = min(spare, pace.count)
        for each in drain_order(self._loads()):
            if spare <= 0:
                return
            spare -= await self.recall(min(spare, each.count), each.eni)

    async def _remove_empty(self) -> None:
        """One that has been empty for a while; the agent is told first that it is no more."""
        loads, now_s = self._loads(), self._tools.clock.monotonic_s()
        empty = [each.eni for each in loads if each.count == 0]
        self._empty_since_s = {it: self._empty_since_s.get(it, now_s) for it in empty}
        demand = self._demand.demand
        chosen = unneeded(
            loads,
            ready=demand.idle + demand.cooling + self._stock.coming(Purpose.SHARED),
            warm_max=self._tools.marks(self._book.node).warm_max,
        )
        if chosen is None or demand.has_waiting:
            return
        if now_s - self._empty_since_s[chosen] < self._tools.limits.eni_rest_s:
            return
        await self._stock.offer(without=chosen)
        if not self._book.image.on(chosen):
            await self._changes.removals.begin(chosen)

    def _loads(self) -> list[EniLoad]:
        image = self._book.image
        return [
            EniLoad(eni=it.eni, count=len(image.on(it.eni)), room=image.room(it.eni))
            for it in image.secondary()
        ]
