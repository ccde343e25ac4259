"""The address of an expired lease becomes the eni_manager's; safe to repeat after any crash.

It is written down before it is answered, and offered to nobody while a lease still names it:
the allocator forgets the lease only after the answer.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from services.eni_manager.domain.ports import Leases
from services.eni_manager.domain.reclaims import Reclaim, check_expired
from services.eni_manager.domain.records import Hold
from services.eni_manager.node_worker import NodeWorker
from shared.errors import Unavailable

log = logging.getLogger(__name__)

_OURS = (Hold.RECLAIMED, Hold.UNASSIGNING)


class Reclaimer:
    def __init__(self, leases: Leases) -> None:
        self._leases = leases

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
