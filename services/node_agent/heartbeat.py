"""The node's demand, said on start, at every beat, and at once when a pod waits."""

from __future__ import annotations

import logging
from datetime import timedelta

from shared.addresses import AddressState
from shared.annotations import NetworkMode
from shared.clock import Clock
from shared.messages.base import BATCH_MAX
from shared.messages.nodes import (
    NODE_WANT,
    WAITING_IN_MAX,
    NodeCapacity,
    StockCounts,
    WaitingIn,
    WantRequest,
)
from shared.telemetry.health import Readiness
from shared.telemetry.metrics import EXCLUSIVE_ENIS, STOCK_ADDRESSES

from .bus import Bus
from .domain.devices import Capacity
from .failures import Failures, Wish
from .fixed import FixedLeases
from .ledger import Ledger
from .links import NodeLinks
from .registration import Registration, Self

log = logging.getLogger(__name__)

STOCK_CONDITION = "stock"
REGISTERED_CONDITION = "registered"


class Heartbeat:
    """One beat: gauges, readiness, and what this node wants."""

    def __init__(
        self,
        *,
        bus: Bus,
        ledger: Ledger,
        links: NodeLinks,
        failures: Failures,
        fixed: FixedLeases,
        registration: Registration,
        readiness: Readiness,
        clock: Clock,
        me: Self,
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._links = links
        self._failures = failures
        self._fixed = fixed
        self._registration = registration
        self._readiness = readiness
        self._clock = clock
        self._me = me

    async def beat(self) -> None:
        counts, exclusive = self.counts(), self._counted(NetworkMode.EXCLUSIVE)
        self._show(counts, exclusive)
        row = self._registration.row
        if row is None:
            return
        wanted = await self._bus.call(
            NODE_WANT,
            WantRequest(
                deadline=self._clock.now() + timedelta(seconds=NODE_WANT.timeout_s),
                node=self._me.node,
                instance=self._me.instance,
                incarnation=row.incarnation,
                counts=counts,
                exclusive=exclusive,
                enis=[str(eni) for eni in self._links.names],
                group=self._me.group,
                warm_min=self._me.warm_min,
                warm_max=self._me.warm_max,
                waiting_in=self._waiting_in(),
            ),
            self._me.node,
        )
        if wanted.capacity is not None:
            self._ledger.learn_capacity(_capacity(wanted.capacity))
        if wanted.problem != self._failures.node_problem:
            self._failures.node_problem = wanted.problem
            log.warning("node has a problem", extra={"problem": wanted.problem or "none"})

    def counts(self) -> StockCounts:
        """Of addresses that share their ENI."""
        return self._counted(NetworkMode.SHARED)

    def _counted(self, mode: NetworkMode) -> StockCounts:
        states = self._ledger.states(mode)
        return StockCounts(
            idle=states[AddressState.STOCK],
            promised=states[AddressState.PROMISED],
            cooling=states[AddressState.COOLING],
            bound_immediate=states[AddressState.BOUND_IMMEDIATE],
            bound_fixed=states[AddressState.BOUND_FIXED],
            waiting=self._waiting(Wish(mode=mode)),
        )

    def _waiting(self, wish: Wish) -> int:
        return self._failures.waiting(wish) + self._fixed.starving()[wish]

    def _waiting_in(self) -> tuple[WaitingIn, ...]:
        """Pods that name subnets, with a bound on how many nominations are told at a time."""
        named = self._failures.nominations()
        named |= {wish.subnets for wish in self._fixed.starving() if wish.subnets}
        return tuple(
            WaitingIn(
                subnets=list(subnets),
                count=min(
                    self._waiting(Wish(mode=NetworkMode.SHARED, subnets=subnets)), BATCH_MAX
                ),
                idle=self._ledger.idle_in(self._links, subnets),
            )
            for subnets in sorted(named)[:WAITING_IN_MAX]
        )

    def _show(self, counts: StockCounts, exclusive: StockCounts) -> None:
        for gauge, counted in ((STOCK_ADDRESSES, counts), (EXCLUSIVE_ENIS, exclusive)):
            for state, value in counted.model_dump().items():
                gauge.labels(state).set(value)
        if self._registration.row is None:
            self._readiness.clear(REGISTERED_CONDITION, "no allocator has answered yet")
        else:
            self._readiness.set(REGISTERED_CONDITION)
        if self._links.names and len(self._ledger.stock):
            self._readiness.set(STOCK_CONDITION)
        else:
            self._readiness.clear(
                STOCK_CONDITION, self._failures.node_problem or "no address came yet"
            )


def _capacity(told: NodeCapacity) -> Capacity:
    return Capacity(
        addresses_max=told.addresses_max,
        addresses_free=told.addresses_free,
        enis_max=told.enis_max,
        enis_free=told.enis_free,
    )
