"""Addresses of container subnets that are not ours: looked for again and again, and named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from services.eni_manager.inspector import Inspector
from services.eni_manager.tools import Tools
from shared.cloud.words import UsedAddress
from shared.ids import SubnetId
from shared.telemetry.metrics import SUBNET_FOREIGN_ADDRESSES

log = logging.getLogger(__name__)

_TOLD_MAX: Final = 20  # of one subnet and look; the metric and the list count all


class ForeignBook(Protocol):
    """What the last look found, for every replica to show."""

    async def read(self) -> Mapping[SubnetId, Sequence[UsedAddress]]: ...

    async def write(self, found: Mapping[SubnetId, Sequence[UsedAddress]]) -> None:
        """In the place of what the look before it found."""
        ...


class ForeignWatch:
    """Only the replica that leads looks: a look costs a call for every hundred addresses."""

    def __init__(
        self,
        inspector: Inspector,
        tools: Tools,
        book: ForeignBook,
        right: Callable[[], Callable[[], None] | None],
        *,
        every_s: float,
    ) -> None:
        self._inspector = inspector
        self._tools = tools
        self._book = book
        self._right = right
        self._every_s = every_s
        self._next_at_s = 0.0
        self._looked_at: frozenset[SubnetId] = frozenset()

    async def round(self) -> None:
        """Look when it is time, and at once at other subnets than the last time."""
        if self._right() is None:
            self._next_at_s = 0.0  # whoever leads next looks at once
            SUBNET_FOREIGN_ADDRESSES.clear()
            return
        now_s = self._tools.clock.monotonic_s()
        subnets = frozenset(each.subnet for each in self._tools.record.container())
        if now_s >= self._next_at_s or subnets != self._looked_at:
            await self._look(sorted(subnets))
            self._looked_at, self._next_at_s = subnets, now_s + self._every_s

    async def _look(self, names: Sequence[SubnetId]) -> None:
        before = await self._book.read()
        seen = (await self._inspector.inspect(names, names)).subnets if names else ()
        found = {each.subnet.subnet: each.foreign for each in seen}
        SUBNET_FOREIGN_ADDRESSES.clear()
        for subnet, uses in found.items():
            SUBNET_FOREIGN_ADDRESSES.labels(subnet).set(len(uses))
            self._tell(subnet, before.get(subnet, ()), uses)
        if found != before:
            await self._book.write(found)

    def _tell(
        self, subnet: SubnetId, before: Sequence[UsedAddress], now: Sequence[UsedAddress]
    ) -> None:
        fresh = [each for each in now if each not in before]
        gone = [each for each in before if each not in now]
        for verb, uses in (("foreign_found", fresh), ("foreign_gone", gone)):
            for each in uses[:_TOLD_MAX]:
                self._tools.events.subnet(verb, subnet, f"{each.address} {each.what}")
        if fresh:
            log.warning(
                "subnet is shared with others",
                extra={
                    "subnet": subnet,
                    "count": len(now),
                    "first": f"{fresh[0].address} {fresh[0].what}",
                },
            )
