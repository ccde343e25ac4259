"""One node: observe → plan → apply, in rounds; only the owner of its shard runs them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from services.eni_manager.demand_view import DemandView
from services.eni_manager.departures import Departure
from services.eni_manager.domain.cluster_fit import quota_warning
from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.placement import Capacity
from services.eni_manager.domain.ports import TermEnded
from services.eni_manager.domain.records import Hold, IntentKind, NodeRecord, Purpose
from services.eni_manager.draining import Draining
from services.eni_manager.eni_changes import EniChanges
from services.eni_manager.exclusive_enis import ExclusiveEnis, is_idle
from services.eni_manager.group_sync import GroupSync
from services.eni_manager.growing import Growing
from services.eni_manager.node_book import NodeBook
from services.eni_manager.observer import InstanceGone, Observer
from services.eni_manager.releasing import Releasing
from services.eni_manager.room import Room
from services.eni_manager.stock import Stock
from services.eni_manager.tools import Tools
from shared.capacities import CloudCalls
from shared.cloud.errors import RETRIED, CloudError
from shared.errors import BerthError, NotFound, QuotaReached, Refused, TryLater, Unavailable
from shared.ids import EniId

log = logging.getLogger(__name__)

_FINISHED_IN_ORDER = (  # by kind: what gives room before what takes it
    IntentKind.UNASSIGN,
    IntentKind.ADD_ENI,
    IntentKind.ASSIGN,
)

_SUSPECTS_EVERY_S = 5.0  # what was not seen at the cloud is looked for again


class NodeLeft(NotFound):
    """Raised when the node's book was closed."""


class NodeWorker:
    """Holds one node's book. `round` is idempotent: it goes on wherever the last one ended."""

    def __init__(self, book: NodeBook, tools: Tools, *, observe_every_s: float) -> None:
        self.book = book
        self.lock = asyncio.Lock()  # one change of the node at a time: rounds and moves
        self.wake = asyncio.Event()
        self.checked = asyncio.Event()  # the first observation has ended, well or not
        self.changes = EniChanges(book, tools)
        self.stock = Stock(book, tools)
        self.room = Room(book, tools)
        self._tools = tools
        self._observer = Observer(book, tools)
        self._departure = Departure(book, tools, self.changes)
        self._groups = GroupSync(book, tools)
        self._observe_every_s = observe_every_s
        self._observe_at_s = 0.0
        self._demand = DemandView(book.node.demand)
        self._unaware = True  # the agent does not know all ENIs yet
        self._told_lost: frozenset[IPv4Address] = frozenset()
        self._offering = asyncio.Lock()  # an agent refuses offers that overtake one another
        self.growing = Growing(
            book, tools, self.changes, self._observer, self.stock, self._demand
        )
        self.whole = ExclusiveEnis(book, tools, self.changes, self.stock, self.growing)
        self.releasing = Releasing(book, tools, self.changes, self.stock, self._demand)
        self._draining = Draining(
            book, tools, self.changes, self.stock, self.releasing, self.whole
        )

    async def hear(self, record: NodeRecord, enis: frozenset[str]) -> str | None:
        """The agent's newest demand; the problem it should know of, if any."""
        known = self.book.node
        self._demand.hear(record.demand)
        self.whole.demand = record.exclusive
        # It lacks one of ours, or still has one that has left.
        ours = self.book.image.ours() - self.book.image.leaving()
        self._unaware = not ours <= enis or not enis <= self.book.image.enis.keys()
        if record.incarnation != known.incarnation or record.instance != known.instance:
            self.observe_soon()
        await self.book.change_node(
            lambda node: replace(
                node,
                instance=record.instance,
                incarnation=record.incarnation,
                demand=record.demand,
                exclusive=record.exclusive,
                group=record.group,
                warm_min=record.warm_min,
                warm_max=record.warm_max,
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

    @property
    def has_left(self) -> bool:
        return self._departure.has_left

    async def leave(self, reason: str) -> list[EniId]:
        """Somebody's word that the node is gone for ever: the ENIs that left its instance."""
        async with self.lock:
            if self.has_left:
                return []
            with urgent(Urgency.POD):
                return await self._departure.leave(reason)

    async def round(self) -> None:
        async with self.lock:
            if self.has_left:
                return
            try:
                with urgent(self._urgency()):
                    await self._round()
            except NodeLeft:
                return
            except TermEnded:
                raise  # nobody here may write that down
            except BerthError as error:
                await self._set_problem([error], is_refusal=isinstance(error, Refused))
                if isinstance(error, RETRIED):
                    raise  # the supervisor repeats soon; a refusal waits for the next round
            finally:
                self.checked.set()

    async def _round(self) -> None:
        if self._tools.capacities.calls is CloudCalls.NONE:
            await self.stock.free_reclaimed()
            await self._offer_soon()
            raise Unavailable("cloud calls are switched off: the node keeps what it has")
        if self._tools.capacities.is_unmanaged(self.book.node):
            await self.stock.free_reclaimed()
            await self._offer_soon()
            raise Unavailable(
                "an annotation of the Node switches ENIs off: the node keeps what it has"
            )
        if self.book.node.has_joined:
            for kind in _FINISHED_IN_ORDER:
                await self._finish(kind)
        else:  # begun for an instance that this node no longer is
            await self.book.write(drop=list(self.book.image.intents.values()))
        if self._tools.clock.monotonic_s() >= self._observe_at_s:
            await self.observe()
        await self._observer.limit()
        await self._judge_fit()
        await self.stock.free_reclaimed()
        await self._answer_agent()
        await self._release()
        shortages = await self._grow()
        kept_back = self.stock.reason_kept_back() if shortages else None
        await self._set_problem(shortages, also=kept_back)

    def capacity(self) -> Capacity | None:
        return self.growing.capacity()

    def _urgency(self) -> Urgency:
        return Urgency.POD if self.whole.demand.waiting else self._demand.urgency()

    async def _grow(self) -> list[BerthError]:
        """Pods before warmth; why not all that is wanted can be had."""
        shortages = [await self._grow_whole(for_warmth=False)]
        shared = await self.growing.grow(self._offer_soon)
        while isinstance(shared, QuotaReached) and await self._make_way():
            shared = await self.growing.grow(self._offer_soon)
        await self.room.ask(shared, self._demand.demand.waiting)
        if shared is None:  # else warmth would take what pods wait for
            shortages.append(await self._grow_whole(for_warmth=True))
        shortages += [*self.growing.nominated_shortages, shared]
        await self._tell_wants(shortages)
        return [each for each in shortages if each]

    async def _tell_wants(self, shortages: Sequence[BerthError | None]) -> None:
        """Other nodes may have an ENI to spare, where the VPC takes no more."""
        waits = self._demand.demand.has_waiting or self.whole.demand.waiting > 0
        is_short = any(isinstance(each, QuotaReached) for each in shortages)
        lacks_eni = is_short and self.growing.lacks_eni(for_pods=True)
        await self._tools.vpc_enis.settle(self.book.node.node, is_waiting=waits and lacks_eni)

    async def _grow_whole(self, *, for_warmth: bool) -> BerthError | None:
        if self._demand.is_doubtful:
            return None
        shortage = await self.whole.grow(for_warmth=for_warmth)
        if self.stock.coming(Purpose.EXCLUSIVE):
            await self._offer_soon()
        return shortage

    async def _make_way(self) -> bool:
        """Pods wait for shared addresses and every slot is taken: whether an idle ENI that
        nobody waits for gave its slot."""
        if not self._demand.demand.waiting or not is_idle(self.whole.demand):
            return False
        try:
            return await self.whole.take_back(1) > 0
        except TryLater as error:
            self._let_be(error)
            return False

    async def observe(self) -> None:
        """Look at the cloud now. The caller holds the lock."""
        try:
            await self._observer.observe()
        except InstanceGone as gone:
            if await self._departure.is_gone():
                raise NodeLeft(str(gone)) from gone
            raise
        self._departure.is_here()
        await self._groups.sync()
        # What a move left is told by the cloud now: the allocator repeats the request.
        intents = self.book.image.intents.values()
        await self.changes.addresses.end_moves(
            [it for it in intents if it.kind is IntentKind.MOVE]
        )
        every_s = self._observe_every_s
        if self._observer.has_suspects:
            every_s = min(every_s, _SUSPECTS_EVERY_S)
        self._observe_at_s = self._tools.clock.monotonic_s() + every_s
        if not self.book.node.has_joined:
            await self.book.change_node(lambda node: replace(node, has_joined=True))
            self._tools.events.node("joined", self.book.node, self.book.node.zone)

    async def _finish(self, kind: IntentKind) -> None:
        if kind is IntentKind.UNASSIGN and not self._tools.capacities.gives_back:
            return
        begun = [it for it in self.book.image.intents.values() if it.kind is kind]
        ended = await asyncio.gather(
            *(self.changes.finish(each) for each in begun), return_exceptions=True
        )
        for each in ended:
            if isinstance(each, BaseException):
                raise each

    async def _answer_agent(self) -> None:
        """Recalls that wait, and addresses to offer; an agent that is away is asked again in
        the next round."""
        try:
            for intent in list(self.book.image.intents.values()):
                if intent.kind is IntentKind.RECALL:
                    await self.stock.finish_recall(intent)
            await self._finish(IntentKind.UNASSIGN)
            await self._offer()
        except TryLater as error:
            self._let_be(error)

    async def _offer_soon(self) -> None:
        try:
            await self._offer()
        except TryLater as error:
            self._let_be(error)

    async def _release(self) -> None:
        if not self._tools.capacities.gives_back:
            return
        try:
            if not self._demand.is_doubtful:
                with urgent(Urgency.CLEAN_UP):
                    await self.whole.shrink()
            await self.releasing.release()
            await self.releasing.give_way()
            await self._draining.drain()
        except TryLater as error:
            self._let_be(error)

    def _let_be(self, error: TryLater) -> None:
        if isinstance(error, (*RETRIED, TermEnded)):
            raise error
        log.info("agent is away", extra={"node": self.book.node.node, "error": str(error)})

    async def _offer(self) -> None:
        async with self._offering:
            lost = self._observer.lost
            is_news = self._unaware or not lost <= self._told_lost
            if not is_news and not self.book.image.held(Hold.ASSIGNING):
                return
            if await self.stock.look_at_embargoes():
                await self._observer.observe()
            heard = self._demand.heard
            taken = await self.stock.offer(lost=lost)
            self._unaware, self._told_lost = False, lost
            shared = Counter(it.subnet for it in taken if it.purpose is Purpose.SHARED)
            whole = sum(it.purpose is Purpose.EXCLUSIVE for it in taken)
            self._demand.offered(shared, heard_before=heard)
            if self._demand.heard == heard:
                self.whole.taken(whole)
            elif whole:
                self._demand.is_doubtful = True

    async def _judge_fit(self) -> None:
        """A node below the cluster's pod maximum is told of, and served all the same."""
        warning = quota_warning(self.book.node, self._tools.record.current)
        if warning == self.book.node.warning:
            return
        await self.book.change_node(lambda node: replace(node, warning=warning))
        if warning is not None:
            log.warning("node is below the cluster's maximum", extra={"warning": warning})
            self._tools.events.node("warned", self.book.node, warning)

    async def _set_problem(
        self,
        errors: Sequence[BerthError],
        *,
        also: str | None = None,
        is_refusal: bool = False,
    ) -> None:
        told = dict.fromkeys(map(str, errors))
        if also is not None:
            told[also] = None
        problem = "; ".join(told) or None
        if problem == self.book.node.problem:
            return
        code, request = problem_code(errors)
        await self.book.change_node(
            lambda node: replace(
                node, problem=problem, problem_code=code, problem_request=request
            )
        )
        if is_refusal:
            log.warning(
                "node cannot be served",
                extra={"node": self.book.node.node, "error": problem},
            )
        if problem is not None and (is_refusal or not self.book.node.has_joined):
            self._tools.events.node("refused", self.book.node, problem)


def problem_code(errors: Sequence[BerthError]) -> tuple[str | None, str | None]:
    """The cloud's code and request id where there are any, else our own code."""
    for each in errors:
        if isinstance(each, CloudError):
            return each.cloud_code, each.request_id or None
    return (errors[0].code.value, None) if errors else (None, None)
