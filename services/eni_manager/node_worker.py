"""One node: observe → plan → apply, in rounds; only the owner of its shard runs them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from services.eni_manager.domain import watermarks
from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.placement import (
    AddEniStep,
    AssignStep,
    Capacity,
    EniRoom,
    Growth,
    NodeRoom,
    capacity,
    plan_growth,
    subnets_of_zone,
)
from services.eni_manager.domain.records import Hold, IntentKind, NodeRecord, Purpose
from services.eni_manager.eni_changes import EniChanges
from services.eni_manager.exclusive_enis import ExclusiveEnis, is_idle
from services.eni_manager.node_book import NodeBook
from services.eni_manager.observer import Observer
from services.eni_manager.stock import Stock
from services.eni_manager.tools import Tools
from shared.cloud.errors import RETRIED, CloudLimit, CloudSubnetFull
from shared.cloud.words import Subnet
from shared.errors import BerthError, QuotaReached, Refused, TryLater
from shared.ids import VpcId, Zone

log = logging.getLogger(__name__)

_REPLANS_MAX = 8  # in one round, after a subnet turned out to be full


class NodeWorker:
    """Holds one node's book. `round` is idempotent: it goes on wherever the last one ended."""

    def __init__(self, book: NodeBook, tools: Tools, *, observe_every_s: float) -> None:
        self.book = book
        self.lock = asyncio.Lock()  # one change of the node at a time: rounds and moves
        self.wake = asyncio.Event()
        self.checked = asyncio.Event()  # the first observation has ended, well or not
        self.changes = EniChanges(book, tools)
        self.stock = Stock(book, tools)
        self.whole = ExclusiveEnis(book, tools, self.changes, self.stock, self.eni_slots)
        self._tools = tools
        self._observer = Observer(book, tools)
        self._observe_every_s = observe_every_s
        self._observe_at_s = 0.0
        self._demand = book.node.demand
        self._heard = 0  # wants so far
        self._is_demand_doubtful = False
        self._unaware = True  # the agent does not know all ENIs yet

    async def hear(self, record: NodeRecord, enis: frozenset[str]) -> str | None:
        """The agent's newest demand; the problem it should know of, if any."""
        known = self.book.node
        self._heard += 1
        self._demand = record.demand
        self.whole.demand = record.exclusive
        self._is_demand_doubtful = False
        # It lacks one of ours, or still has one that has left.
        self._unaware = not self._ours() <= enis or not enis <= self.book.image.enis.keys()
        if record.incarnation != known.incarnation or record.instance != known.instance:
            self.observe_soon()
        await self.book.change_node(
            lambda node: replace(
                node,
                instance=record.instance,
                incarnation=record.incarnation,
                demand=record.demand,
                exclusive=record.exclusive,
                heard_at=record.heard_at,
                has_joined=node.has_joined and record.instance == node.instance,
            )
        )
        self.wake.set()
        return self.book.node.problem

    def observe_soon(self) -> None:
        """Something was changed at the cloud behind this book."""
        self._observe_at_s = 0.0
        self.wake.set()

    async def round(self) -> None:
        async with self.lock:
            try:
                with urgent(self._urgency()):
                    await self._round()
            except BerthError as error:
                await self._set_problem(str(error), is_refusal=isinstance(error, Refused))
                if isinstance(error, RETRIED):
                    raise  # the supervisor repeats soon; a refusal waits for the next round
                log.warning(
                    "node cannot be served",
                    extra={"node": self.book.node.node, "error": str(error)},
                )
            finally:
                self.checked.set()

    def _urgency(self) -> Urgency:
        if self._demand.waiting or self.whole.demand.waiting:
            return Urgency.POD
        has_any = self._demand.idle or self._demand.bound
        return Urgency.WARMTH if has_any else Urgency.JOIN

    def rooms(self) -> list[EniRoom]:
        image = self.book.image
        return [
            EniRoom(eni=each.eni, subnet=each.subnet, room=image.room(each.eni))
            for each in image.secondary()
        ]

    def eni_slots(self) -> int:
        """ENIs that may still be attached; strangers' take up slots too."""
        taken = len(self._ours()) + self._observer.strangers
        return max(0, (self.book.node.enis_max or 0) - taken)

    def _ours(self) -> frozenset[str]:
        image = self.book.image
        return frozenset(each.eni for each in (*image.secondary(), *image.whole()))

    async def recall(self, count: int, eni: str | None = None) -> int:
        """Take idle addresses back from the agent and unassign them; how many."""
        found = next((it.eni for it in self.rooms() if it.eni == eni), None)
        addresses = await self.stock.begin_recall(count, found)
        self._demand = replace(self._demand, idle=max(0, self._demand.idle - len(addresses)))
        await self._finish(IntentKind.UNASSIGN)
        return len(addresses)

    async def _round(self) -> None:
        if self.book.node.has_joined:
            for kind in (IntentKind.UNASSIGN, IntentKind.ADD_ENI, IntentKind.ASSIGN):
                await self._finish(kind)
            await self.whole.finish_removals()
        else:  # begun for an instance that this node no longer is
            await self.book.write(drop=list(self.book.image.intents.values()))
        if self._tools.clock.monotonic_s() >= self._observe_at_s:
            await self.observe()
        await self.stock.free_reclaimed()
        await self._answer_agent()
        shortages = [await self._grow_whole(for_warmth=False)]
        shared = await self._grow()
        while isinstance(shared, QuotaReached) and await self._make_way():
            shared = await self._grow()
        if shared is None:  # else warmth would take what pods wait for
            shortages.append(await self._grow_whole(for_warmth=True))
        problem = "; ".join(dict.fromkeys(str(it) for it in (*shortages, shared) if it))
        await self._set_problem(problem or None)

    async def observe(self) -> None:
        """Look at the cloud now. The caller holds the lock."""
        await self._observer.observe()
        # What a move left is told by the cloud now: the allocator repeats the request.
        intents = self.book.image.intents.values()
        await self.book.write(drop=[it for it in intents if it.kind is IntentKind.MOVE])
        self._observe_at_s = self._tools.clock.monotonic_s() + self._observe_every_s
        if not self.book.node.has_joined:
            await self.book.change_node(lambda node: replace(node, has_joined=True))
            self._tools.events.node("joined", self.book.node, self.book.node.zone)

    async def _finish(self, kind: IntentKind) -> None:
        for intent in [it for it in self.book.image.intents.values() if it.kind is kind]:
            await self.changes.finish(intent)

    async def _answer_agent(self) -> None:
        """Recalls that wait, addresses to offer, too many idle ones; an agent that is away
        is asked again in the next round."""
        try:
            for intent in list(self.book.image.intents.values()):
                if intent.kind is IntentKind.RECALL:
                    await self.stock.finish_recall(intent)
            await self.whole.finish_removals()
            await self._finish(IntentKind.UNASSIGN)
            await self._offer()
            coming = self.book.image.coming(Purpose.SHARED)
            if not self._is_demand_doubtful:
                with urgent(Urgency.CLEAN_UP):
                    await self.whole.shrink()
                spare = watermarks.excess(self._demand, coming=coming, marks=self._tools.marks)
                if spare:
                    with urgent(Urgency.CLEAN_UP):
                        await self.recall(spare)
        except TryLater as error:
            if isinstance(error, RETRIED):
                raise
            log.info("agent is away", extra={"node": self.book.node.node, "error": str(error)})

    async def _offer(self) -> None:
        if not self._unaware and not self.book.image.held(Hold.ASSIGNING):
            return
        heard = self._heard
        taken = await self.stock.offer()
        self._unaware = False
        if self._heard == heard:
            idle = self._demand.idle + taken[Purpose.SHARED]
            self._demand = replace(self._demand, idle=idle)
            self.whole.taken(taken[Purpose.EXCLUSIVE])
        elif taken:
            # A want that crossed the offer counts the addresses, or does not: the next tells.
            self._is_demand_doubtful = True

    async def _grow_whole(self, *, for_warmth: bool) -> BerthError | None:
        if self._is_demand_doubtful:
            return None
        shortage = await self.whole.grow(for_warmth=for_warmth)
        if self.book.image.coming(Purpose.EXCLUSIVE):
            await self._answer_agent()
        return shortage

    async def _make_way(self) -> bool:
        """Pods wait for shared addresses and every slot is taken: whether an idle ENI that
        nobody waits for gave its slot."""
        if not self._demand.waiting or not is_idle(self.whole.demand):
            return False
        try:
            return await self.whole.take_back(1) > 0
        except TryLater as error:
            if isinstance(error, RETRIED):
                raise
            log.info("agent is away", extra={"node": self.book.node.node, "error": str(error)})
            return False

    async def _grow(self) -> BerthError | None:
        """In one shot to the target; a subnet that is full is looked at again first."""
        for _ in range(_REPLANS_MAX):
            growth = self._plan()
            if not growth.steps:
                return growth.shortage
            try:
                for step in growth.steps:
                    await self._apply(step)
            except (CloudSubnetFull, CloudLimit) as error:
                log.info("plan did not hold", extra={"error": str(error)})
                await self._tools.subnets.refresh()
                await self._observer.observe()
                continue
            await self._answer_agent()
        return self._plan().shortage

    async def _apply(self, step: AssignStep | AddEniStep) -> None:
        if isinstance(step, AssignStep):
            await self.changes.assign(step.eni, step.count)
        else:
            await self.changes.add_eni(step.subnet, step.count)

    def _plan(self) -> Growth:
        node, image = self.book.node, self.book.image
        if self._is_demand_doubtful or node.zone is None or node.vpc is None:
            return Growth(steps=(), shortage=None)
        wanted = watermarks.lacking(
            self._demand,
            coming=image.coming(Purpose.SHARED),
            held=len(image.addresses),
            marks=self._tools.marks,
        )
        return plan_growth(wanted, self._room(node.zone), self._usable(node.zone, node.vpc))

    def capacity(self) -> Capacity | None:
        """None until the instance was looked at, or when its zone has no subnet."""
        node = self.book.node
        if node.zone is None or node.vpc is None:
            return None
        try:
            usable = self._usable(node.zone, node.vpc)
        except Refused:
            return None
        return capacity(
            self._room(node.zone),
            usable,
            enis_max=max(0, (node.enis_max or 0) - self._observer.strangers),
            held=len(self.book.image.addresses) - len(self.book.image.whole()),
            pods_max=self._tools.marks.pods_max,
        )

    def _room(self, zone: Zone) -> NodeRoom:
        return NodeRoom(
            node=self.book.node.node,
            zone=zone,
            enis=self.rooms(),
            eni_slots=self.eni_slots(),
            addresses_max=self.book.node.addresses_max or 0,
        )

    def _usable(self, zone: Zone, vpc: VpcId) -> tuple[Subnet, ...]:
        return subnets_of_zone(self.book.node.node, zone, self._tools.subnets.in_vpc(vpc))

    async def _set_problem(self, problem: str | None, *, is_refusal: bool = False) -> None:
        if problem == self.book.node.problem:
            return
        await self.book.change_node(lambda node: replace(node, problem=problem))
        if problem is not None and (is_refusal or not self.book.node.has_joined):
            self._tools.events.node("refused", self.book.node, problem)
