"""The address of an expired lease becomes the eni_manager's; safe to repeat after any crash.

It is written down before it is answered, and offered to nobody while a lease still names it:
the allocator forgets the lease only after the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from services.eni_manager.domain.ports import Leases
from services.eni_manager.domain.reclaims import Reclaim, check_expired
from services.eni_manager.domain.records import Hold, NodeRecord
from services.eni_manager.node_worker import NodeWorker
from shared.errors import Unavailable

log = logging.getLogger(__name__)

_OURS = (Hold.RECLAIMED, Hold.UNASSIGNING)


class Reclaimer:
    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    async def reclaim_from_gone(self, reclaim: Reclaim, nodes: Sequence[NodeRecord]) -> None:
        """Of a node that has left: its ENIs are in no book, and the sweeper takes what no lease
        names any more. So nothing is to be written down."""
        if any(each.node == reclaim.node for each in nodes):
            raise Unavailable(f"node {reclaim.node} is not looked after yet")
        check_expired(reclaim, await self._leases.find(reclaim.identity))

    async def reclaim(self, worker: NodeWorker, reclaim: Reclaim) -> None:
        """Raises Stale for a lease that is not expired in this generation."""
        if not worker.book.node.has_joined:
            raise Unavailable(
                f"node {reclaim.node} has not joined yet: its agent was not heard"
            )
        async with worker.lock:
            # Under the lock: no round may free what is taken between the look and the write.
            check_expired(reclaim, await self._leases.find(reclaim.identity))
            if reclaim.address not in worker.book.image.addresses:
                await worker.observe()
            known = worker.book.image.addresses.get(reclaim.address)
            if known is None:
                # Unassigned behind our back, or on another node, whose observer will tell.
                log.warning(
                    "address of an expired lease is not on its node",
                    extra={"address": str(reclaim.address), "node": reclaim.node},
                )
            elif known.hold not in _OURS:
                await worker.book.write(put=[replace(known, hold=Hold.RECLAIMED, reason=None)])
