"""An agent's half of the talk with the eni_manager, over the real bus: a book, no kernel."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from nats.aio.client import Client

from shared.addresses import AddressState
from shared.bus.client import BusClient
from shared.bus.server import RequestServer
from shared.clock import SystemClock
from shared.errors import Stale, Unavailable
from shared.ids import ClusterName, NodeName
from shared.messages.base import EniFields
from shared.messages.nodes import (
    AGENT_INVENTORY,
    NODE_WANT,
    STOCK_OFFER,
    STOCK_RECALL,
    Inventory,
    InventoryEntry,
    InventoryRequest,
    OfferAccepted,
    OfferedAddress,
    StockCounts,
    StockOffer,
    StockRecall,
    StockRecalled,
    WaitingIn,
    Wanted,
    WantRequest,
)


class StandInAgent:
    """Owns what it accepted; binds idle addresses when a test says so."""

    def __init__(self, nats: Client, cluster: ClusterName, node: str, instance: str) -> None:
        clock = SystemClock()
        self.node = NodeName(node)
        self.instance = instance
        self.incarnation = 1
        self.enis: dict[str, EniFields] = {}
        self.owned: dict[IPv4Address, str] = {}
        self.bound: set[IPv4Address] = set()
        self.fixed: dict[IPv4Address, str] = {}  # of fixed leases bound here: refused as stock
        self.pods: dict[IPv4Address, InventoryEntry] = {}  # the same, of pods it can tell of
        self.waiting = 0
        self.waiting_in: dict[tuple[str, ...], int] = {}  # pods that name subnets
        self.group: str | None = None
        self.warm: tuple[int, int] | None = None  # its own word: minimum and maximum
        self.whole_waiting = 0  # pods that wait for an ENI of their own
        self.recalled: dict[str, StockRecalled] = {}
        self.orders: list[tuple[int, int]] = []
        self.offers = 0
        self.lost_answers = 0  # to offers that are taken all the same
        self.recalls = 0  # different ones
        self.changed = asyncio.Event()
        self._bus = BusClient(nats, cluster=cluster, clock=clock, rng=random.Random(7))
        self._nats = nats
        self._cluster = cluster
        self._server: RequestServer | None = None

    async def start(self) -> None:
        """Hear orders from now."""
        self._server = RequestServer(
            self._nats, cluster=self._cluster, clock=SystemClock(), in_flight_max=16
        )
        await self._server.serve_node(
            self.node,
            {
                STOCK_OFFER: self._take,
                STOCK_RECALL: self._give_back,
                AGENT_INVENTORY: self._tell,
            },
        )

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.drain(grace_s=2.0)
            self._server = None

    @property
    def idle(self) -> set[IPv4Address]:
        return self._of_kind(is_exclusive=False) - self.bound

    @property
    def whole(self) -> set[IPv4Address]:
        """Primary addresses of the ENIs that a pod has, or may have, as a whole."""
        return self._of_kind(is_exclusive=True)

    @property
    def secondary(self) -> list[str]:
        """Its ENIs that carry pods."""
        return sorted(
            each.eni
            for each in self.enis.values()
            if not each.is_primary and not each.is_exclusive
        )

    def _of_kind(self, *, is_exclusive: bool) -> set[IPv4Address]:
        return {
            address
            for address, eni in self.owned.items()
            if eni in self.enis and self.enis[eni].is_exclusive is is_exclusive
        }

    def _counts(self, *, is_exclusive: bool) -> StockCounts:
        held = self._of_kind(is_exclusive=is_exclusive)
        return StockCounts(
            idle=len(held - self.bound),
            promised=0,
            cooling=0,
            bound_immediate=len(held & self.bound),
            bound_fixed=0,
            waiting=self.whole_waiting if is_exclusive else self.waiting,
        )

    def idle_in(self, *subnets: str) -> set[IPv4Address]:
        return {each for each in self.idle if self.enis[self.owned[each]].subnet in subnets}

    def _waiting_in(self) -> tuple[WaitingIn, ...]:
        return tuple(
            WaitingIn(subnets=list(named), count=count, idle=len(self.idle_in(*named)))
            for named, count in self.waiting_in.items()
        )

    async def want(self) -> Wanted:
        request = WantRequest(
            deadline=datetime.now(UTC) + timedelta(seconds=NODE_WANT.timeout_s),
            node=self.node,
            instance=self.instance,
            incarnation=self.incarnation,
            counts=self._counts(is_exclusive=False),
            exclusive=self._counts(is_exclusive=True),
            enis=sorted(self.enis),
            waiting_in=self._waiting_in(),
            group=self.group,
            warm_min=self.warm[0] if self.warm else None,
            warm_max=self.warm[1] if self.warm else None,
        )
        return await self._bus.call(NODE_WANT, request, self.node)

    async def want_quietly(self) -> None:
        """One beat; nobody may be there to hear it."""
        with suppress(Unavailable):
            await self.want()

    async def want_until(self, idle: int, *, timeout_s: float = 20.0) -> None:
        """Say what is wanted until that many addresses are idle, as the heartbeat does."""
        await self.want_so(lambda: len(self.idle) == idle, timeout_s=timeout_s)

    async def beat_until(self, idle: int, *, every_s: float, timeout_s: float) -> None:
        """As `want_until`, one of so many agents that it must not ask too often."""
        async with asyncio.timeout(timeout_s):
            while len(self.idle) != idle:
                await self.want_quietly()
                self.changed.clear()
                if len(self.idle) != idle:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(every_s):
                            await self.changed.wait()

    async def want_so(self, is_so: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not is_so():
                await self.want_quietly()  # maybe heard: it is said again
                self.changed.clear()
                if not is_so():
                    try:
                        async with asyncio.timeout(0.5):
                            await self.changed.wait()
                    except TimeoutError:
                        continue

    def bind(self, count: int) -> list[IPv4Address]:
        taken = sorted(self.idle)[:count]
        self.bound.update(taken)
        return taken

    def bind_whole(self) -> IPv4Address:
        """A pod gets an ENI of its own."""
        address = min(self.whole - self.bound)
        self.bound.add(address)
        self.whole_waiting = max(0, self.whole_waiting - 1)
        return address

    async def _take(self, offer: StockOffer) -> OfferAccepted:
        self._check(offer.term, offer.sequence)
        self.offers += 1
        self.enis = {each.eni: each for each in offer.enis}
        for each in offer.lost:
            if each not in self.bound:
                self.owned.pop(each, None)
        used = self.fixed.keys() | self.pods.keys()
        accepted = [each for each in offer.addresses if each.address not in used]
        self.owned |= {each.address: each.eni for each in accepted}
        self.changed.set()
        if self.lost_answers > 0:
            self.lost_answers -= 1
            raise Unavailable("taken, and nobody hears it")
        return OfferAccepted(
            accepted=[each.address for each in accepted],
            refused=tuple(each.address for each in offer.addresses if each.address in used),
        )

    async def _give_back(self, recall: StockRecall) -> StockRecalled:
        self._check(recall.term, recall.sequence)
        if recall.recall not in self.recalled:
            self.recalls += 1
            idle = self.whole - self.bound if recall.is_exclusive else self.idle
            chosen = [
                address
                for address in sorted(idle)
                if recall.eni is None or self.owned[address] == recall.eni
            ][: recall.count]
            self.recalled[recall.recall] = StockRecalled(
                addresses=[OfferedAddress(address=it, eni=self.owned.pop(it)) for it in chosen]
            )
        answer = self.recalled[recall.recall]
        for settled in recall.settled:
            self.recalled.pop(settled, None)
        self.changed.set()
        return answer

    async def _tell(self, request: InventoryRequest) -> Inventory:
        now = datetime.now(UTC)
        return Inventory(
            node=self.node,
            instance=self.instance,
            incarnation=self.incarnation,
            enis=list(self.enis.values()),
            addresses=[
                InventoryEntry(
                    address=address,
                    eni=eni,
                    state=AddressState.BOUND_IMMEDIATE
                    if address in self.bound
                    else AddressState.STOCK,
                    since=now,
                )
                for address, eni in self.owned.items()
            ]
            + [
                InventoryEntry(
                    address=address, eni=eni, state=AddressState.BOUND_FIXED, since=now
                )
                for address, eni in self.fixed.items()
            ]
            + list(self.pods.values()),
        )

    def _check(self, term: int, sequence: int) -> None:
        if self.orders and (term, sequence) <= self.orders[-1]:
            raise Stale(f"order {term}.{sequence} is not newer than {self.orders[-1]}")
        self.orders.append((term, sequence))
