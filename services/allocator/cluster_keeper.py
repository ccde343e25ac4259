"""The newest record of the cluster as this replica knows it, and the one way to change it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from shared.clock import Clock
from shared.clusters import Cluster
from shared.errors import Busy
from shared.ids import Identity
from shared.messages.events import ClusterEvent, SubnetEvent

from .domain import cluster as rules
from .domain.cluster_ports import ClusterBooks
from .durable_steps import EventTeller

_TRIES_MAX: Final = 5


class ClusterKeeper:
    """A record that was known is kept: an emptied store is not a cluster without one."""

    def __init__(self, books: ClusterBooks, events: EventTeller, clock: Clock) -> None:
        self._books = books
        self._events = events
        self._clock = clock
        self.current: Cluster | None = None
        self.changed = asyncio.Event()  # here: what is under way goes on at once

    async def refresh(self) -> Cluster | None:
        found = await self._books.settle(self.current)
        if found is not None:
            self.current = found
        return self.current

    @property
    def has_fixed_ips(self) -> bool | None:
        """None: the cluster has no record."""
        return None if self.current is None else self.current.has_fixed_ips

    def check_fixed(self, identity: Identity) -> None:
        """Raises what forbids a pod to keep its address."""
        rules.check_fixed(self.current, identity)

    async def change(self, step: Callable[[Cluster | None], Cluster]) -> Cluster:
        """The record after `step`, journaled; what `step` raises forbids it."""
        for _ in range(_TRIES_MAX):
            before = await self._books.settle(self.current)
            after = step(before)
            if after is before:
                self.current = after
                return after
            if await self._books.write(after):
                self.current = after
                self.changed.set()
                return after
        raise Busy("the cluster's record is changed by others at this moment: try again")

    def tell_cluster(self, verb: str, cluster: Cluster, detail: str | None = None) -> None:
        self._events.tell(
            ClusterEvent(verb=verb, detail=detail, at=self._clock.now()),
            message_id=f"cluster/{cluster.operation.began_at.timestamp()}/{verb}",
        )

    def tell_subnet(self, verb: str, subnet: str, cluster: Cluster, detail: str) -> None:
        self._events.tell(
            SubnetEvent(verb=verb, subnet=subnet, detail=detail, at=self._clock.now()),
            message_id=f"subnet/{subnet}/{cluster.revision}/{verb}",
        )
