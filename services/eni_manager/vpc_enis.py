"""The VPC's quota of ENIs: nothing but the cloud's refusal tells that it is reached.

Then no node asks for another ENI for a while: each fills those that it has. Nodes whose pods
wait for one are written down for every replica, and a node that can spare its emptiest ENI
takes one of these wants, and gives that ENI up. For some time none is made for warmth, so that
what was given up goes to pods.
"""

from __future__ import annotations

import logging
from typing import Final

from services.eni_manager.domain.ports import EniWants
from shared.clock import Clock
from shared.cloud.errors import CloudError
from shared.errors import QuotaReached
from shared.ids import NodeName
from shared.telemetry.metrics import ENIS_GAVE_WAY_TOTAL, VPC_ENIS_WANTED

log = logging.getLogger(__name__)

_TIGHT_S: Final = 60.0  # after the last sign that the quota is reached
_TRIES_EVERY_S: Final = 60.0  # of a node that could not spare the one it tried to


class VpcEnis:
    """One replica's look at it. `rests_s`: until the cloud is asked for another ENI again."""

    def __init__(self, wants: EniWants, clock: Clock, *, rests_s: float) -> None:
        self._wants = wants
        self._clock = clock
        self._rests_s = rests_s
        self._full_until_s = 0.0
        self._tight_until_s = 0.0
        self._reason = "as another replica was told"
        self._wanted = 0
        self._waiting: set[NodeName] = set()
        self._tries_from_s: dict[NodeName, float] = {}

    @property
    def is_full(self) -> bool:
        return self._clock.monotonic_s() < self._full_until_s

    def takes_another(self, *, for_pods: bool) -> bool:
        """Whether an ENI is worth asking for: for pods that wait, or for warmth."""
        is_tight = self._clock.monotonic_s() < self._tight_until_s
        return not self.is_full and (for_pods or not is_tight)

    @property
    def is_wanted(self) -> bool:
        """By some node of the cluster, whichever replica looks after it."""
        return self._wanted > 0

    def refused(self, error: CloudError) -> None:
        """The cloud makes no more ENIs in the VPC."""
        if not self.is_full:
            log.warning("the VPC has as many ENIs as it may", extra={"error": str(error)})
        self._full_until_s = self._clock.monotonic_s() + self._rests_s
        self._is_tight()
        self._reason = str(error)

    def made_room(self) -> None:
        """One of ours was deleted."""
        self._full_until_s = 0.0

    def shortage(self, node: NodeName) -> QuotaReached:
        return QuotaReached(
            f"node {node} lacks an ENI: the VPC has as many as its quota allows"
            f" ({self._reason}); nodes that can spare an idle one give it up; have the quota"
            " raised, or use fewer, larger instances"
        )

    async def refresh(self) -> None:
        self._wanted = await self._wants.count()
        VPC_ENIS_WANTED.set(self._wanted)
        if self._wanted:
            self._is_tight()

    async def settle(self, node: NodeName, *, is_waiting: bool) -> None:
        """Whether pods of the node wait for an ENI that the VPC's quota forbids."""
        if is_waiting:
            await self._wants.add(node)
            self._waiting.add(node)
        elif node in self._waiting:
            await self._wants.end(node)
            self._waiting.discard(node)

    async def take(self, node: NodeName) -> bool:
        """Whether this node is to give up an ENI now: each want is met by one node."""
        now_s = self._clock.monotonic_s()
        if now_s < self._tries_from_s.get(node, 0.0):
            return False
        if not await self._wants.take():
            self._wanted = 0
            return False
        self._wanted -= 1
        self._is_tight()
        self._tries_from_s[node] = now_s + _TRIES_EVERY_S
        return True

    def gave(self, node: NodeName) -> None:
        self._tries_from_s.pop(node, None)
        ENIS_GAVE_WAY_TOTAL.inc()
        log.info("an idle ENI gave way for another node's pods", extra={"node": node})

    def _is_tight(self) -> None:
        self._tight_until_s = self._clock.monotonic_s() + _TIGHT_S
