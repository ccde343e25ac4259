"""A node gets what it lacks: in one shot to the target, the steps of it side by side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from services.eni_manager.demand_view import DemandView
from services.eni_manager.domain import watermarks
from services.eni_manager.domain.breakers import Breaker
from services.eni_manager.domain.nominations import plan_nominated
from services.eni_manager.domain.placement import (
    AddEniStep,
    AssignStep,
    Capacity,
    EniRoom,
    Growth,
    NodeRoom,
    capacity,
    maximum_reached,
    plan_growth,
    subnets_of_zone,
)
from services.eni_manager.domain.records import Purpose
from services.eni_manager.domain.releases import EniLoad, surplus
from services.eni_manager.eni_changes import EniChanges
from services.eni_manager.node_book import NodeBook
from services.eni_manager.observer import Observer
from services.eni_manager.stock import Stock
from services.eni_manager.tools import Tools
from shared.cloud.errors import RETRIED, CloudLimit, CloudVpcFull
from shared.cloud.words import Subnet
from shared.errors import BerthError, QuotaReached, Refused, SubnetFull
from shared.ids import Zone

log = logging.getLogger(__name__)

_REPLANS_MAX = 8  # in one round, after a plan turned out not to hold


class Growing:
    """One node's growth. The caller holds the node's lock."""

    def __init__(
        self,
        book: NodeBook,
        tools: Tools,
        changes: EniChanges,
        observer: Observer,
        stock: Stock,
        demand: DemandView,
    ) -> None:
        self._book = book
        self._tools = tools
        self._changes = changes
        self._observer = observer
        self._stock = stock
        self._demand = demand
        self.nominated_shortages: tuple[BerthError, ...] = ()  # by the last plan
        self._limit = Breaker()  # of refusals that the quota does not explain

    def rooms(self) -> list[EniRoom]:
        """ENIs that may take more; those beyond somebody's limit may not."""
        image = self._book.image
        limit = self._tools.capacities.enis_max(self._book.node)
        shared = image.secondary()
        if limit is not None:
            loads = [EniLoad(eni=it.eni, count=len(image.on(it.eni)), room=0) for it in shared]
            leaving = {each.eni for each in surplus(loads, enis_max=limit)}
            shared = [each for each in shared if each.eni not in leaving]
        return [
            EniRoom(eni=each.eni, subnet=each.subnet, room=image.room(each.eni))
            for each in shared
        ]

    def eni_slots(self) -> int:
        """ENIs that may still be attached; strangers' take up slots too."""
        ours = self._book.image.ours()
        return max(0, (self._book.node.enis_max or 0) - len(ours) - self._observer.strangers)

    def new_eni_slots(self, *, for_pods: bool) -> int:
        """Those for which an ENI can be made: none while the VPC has as many as it may."""
        takes_another = self._tools.vpc_enis.takes_another(for_pods=for_pods)
        return self.eni_slots() if takes_another else 0

    def lacks_eni(self, *, for_pods: bool) -> bool:
        """The VPC's quota is what stands in the way of another ENI."""
        return self.eni_slots() > 0 and not self.new_eni_slots(for_pods=for_pods)

    async def grow(self, offer: Callable[[], Awaitable[None]]) -> BerthError | None:
        """Until nothing is lacking, or nothing more can be had: then why. `offer` follows
        each step, so that nobody waits for the slowest."""
        for _ in range(_REPLANS_MAX):
            if self._limit.is_open(self._tools.clock.monotonic_s()):
                return self._refused()
            growth = self._plan()
            if not growth.steps:
                return self._explained(growth.shortage)

            async def take(step: AssignStep | AddEniStep) -> None:
                await self._apply(step)
                self._limit = Breaker()
                await offer()

            ended = await asyncio.gather(
                *(take(step) for step in growth.steps), return_exceptions=True
            )
            failures = [each for each in ended if isinstance(each, BaseException)]
            if failures:
                await self._learn(failures)
        return self._explained(self._plan().shortage)

    def _explained(self, shortage: BerthError | None) -> BerthError | None:
        """With what the cloud said of subnets that are left alone since."""
        left_alone = self._tools.subnets.left_alone()
        if not isinstance(shortage, SubnetFull) or not left_alone:
            return shortage
        told = "; ".join(f"{each}: {why}" for each, why in sorted(left_alone.items()))
        return SubnetFull(f"{shortage}; the cloud refused, and is asked again later ({told})")

    async def _learn(self, failures: Sequence[BaseException]) -> None:
        """Look again at what did not hold; raises what another plan cannot help."""
        for error in failures:
            if not isinstance(error, (SubnetFull, CloudLimit)) or isinstance(error, RETRIED):
                raise error
        log.info("plan did not hold", extra={"error": str(failures[0])})
        if any(isinstance(error, SubnetFull) for error in failures):
            await self._tools.subnets.refresh_soon()
        limits = [
            error
            for error in failures
            if isinstance(error, CloudLimit) and not isinstance(error, CloudVpcFull)
        ]
        if limits:
            now_s = self._tools.clock.monotonic_s()
            self._limit = self._limit.failed(now_s, str(limits[0]))
            self._observer.doubt_quota()
            await self._observer.observe()

    def _refused(self) -> QuotaReached:
        return QuotaReached(
            f"node {self._book.node.node} lacks addresses: the cloud refuses what its quota"
            f" seems to allow ({self._limit.reason}); it is asked again later"
        )

    async def _apply(self, step: AssignStep | AddEniStep) -> None:
        if isinstance(step, AssignStep):
            await self._changes.addresses.assign(step.eni, step.count)
        else:
            candidates = [
                each.subnet
                for each in self.usable_subnets()
                if not each.closed and (not step.among or each.subnet in step.among)
            ]
            await self._changes.additions.add(candidates or [step.subnet], step.count)

    def _plan(self) -> Growth:
        node, image = self._book.node, self._book.image
        if self._demand.is_doubtful or node.zone is None or node.vpc is None:
            return Growth(steps=(), shortage=None)
        if nominated := self._plan_nominated(node.zone):
            return Growth(steps=nominated, shortage=None)
        coming, held = self._stock.coming(Purpose.SHARED), len(image.addresses)
        marks = self._tools.marks(node)
        wanted = watermarks.lacking(self._demand.demand, coming=coming, held=held, marks=marks)
        growth = plan_growth(wanted, self._room(node.zone), self.usable_subnets())
        beyond = watermarks.beyond_maximum(
            self._demand.demand, coming=coming, held=held, marks=marks
        )
        for_pods = self._demand.demand.has_waiting
        if isinstance(growth.shortage, QuotaReached) and self.lacks_eni(for_pods=for_pods):
            return Growth(steps=growth.steps, shortage=self._tools.vpc_enis.shortage(node.node))
        if growth.shortage is not None or not beyond:
            return growth
        return Growth(steps=growth.steps, shortage=maximum_reached(beyond, node.node, marks))

    def _plan_nominated(self, zone: Zone) -> tuple[AssignStep | AddEniStep, ...]:
        """For pods that name subnets; why not all of them can be served is kept to be told."""
        node, demand = self._book.node, self._demand.demand
        if not demand.waiting_in or node.vpc is None:
            self.nominated_shortages = ()
            return ()
        pods_max = self._tools.marks(node).pods_max
        planned = plan_nominated(
            demand,
            self._room(zone),
            self._tools.subnets.in_vpc(node.vpc),
            coming=self._stock.coming_in(Purpose.SHARED),
            left_alone=self._tools.subnets.left_alone(),
            addresses_left=None
            if pods_max is None
            else max(0, pods_max - len(self._book.image.addresses)),
        )
        self.nominated_shortages = planned.shortages
        return planned.steps

    def capacity(self) -> Capacity | None:
        """None until the instance was looked at, or when its zone has no subnet."""
        node, image = self._book.node, self._book.image
        if node.zone is None or node.vpc is None:
            return None
        try:
            usable = self.usable_subnets()
        except Refused:
            return None
        return capacity(
            self._room(node.zone),
            usable,
            enis_max=max(0, (node.enis_max or 0) - self._observer.strangers),
            held=len(image.addresses) - len(image.whole()),
            pods_max=self._tools.record.pods_max,
        )

    def _room(self, zone: Zone) -> NodeRoom:
        return NodeRoom(
            node=self._book.node.node,
            zone=zone,
            enis=self.rooms(),
            eni_slots=self.new_eni_slots(for_pods=self._demand.demand.has_waiting),
            addresses_max=self._book.node.addresses_max or 0,
        )

    def usable_subnets(self) -> Sequence[Subnet]:
        node = self._book.node
        assert node.vpc is not None, "a node that grows has joined"
        assert node.zone is not None, "a node that grows has joined"
        in_zone = subnets_of_zone(node.node, node.zone, self._tools.subnets.in_vpc(node.vpc))
        return self._tools.subnets.usable(in_zone)
