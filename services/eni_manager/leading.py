"""What one replica does for all of them: the one that holds the first shard."""

from __future__ import annotations

from services.eni_manager.foreign_watch import ForeignWatch
from services.eni_manager.orphans import Orphans
from services.eni_manager.reconciler import Reconciler
from services.eni_manager.tools import Tools


class Leading:
    def __init__(
        self,
        reconciler: Reconciler,
        tools: Tools,
        foreign: ForeignWatch,
        orphans: Orphans,
        *,
        foreign_every_s: float,
    ) -> None:
        self._reconciler = reconciler
        self._tools = tools
        self._foreign = foreign
        self._orphans = orphans
        self._foreign_every_s = foreign_every_s
        self._foreign_at_s = 0.0
        self._looked_at: frozenset[str] = frozenset()

    async def round(self) -> None:
        check = self._reconciler.leader()
        if check is None:
            self._foreign_at_s = 0.0  # whoever leads next looks at once
            return
        await self._orphans.sweep(check)
        now_s = self._tools.clock.monotonic_s()
        subnets = frozenset(each.subnet for each in self._tools.record.container())
        if now_s >= self._foreign_at_s or subnets != self._looked_at:
            await self._foreign.look()
            self._looked_at = subnets
            self._foreign_at_s = now_s + self._foreign_every_s
