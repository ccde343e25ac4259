"""Addresses that the cloud keeps for this cluster, that no ENI has and no lease names any more.

A reservation outlives the use of its address, so that an address can be held again; one that
nobody needs is let go after two observations and the grace time. The sweeper's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from services.eni_manager.eni_tags import reservation_tags
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudDenied, CloudNotFound, CloudTaken
from shared.cloud.words import ReservedAddress
from shared.errors import EpochLost

log = logging.getLogger(__name__)


class KeptSweep:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._first_seen_s: dict[str, float] = {}

    async def sweep(
        self, check: Callable[[], None], *, grace_s: float, is_dry_run: bool
    ) -> None:
        try:
            due = self._due(await self._unused(check), grace_s)
            for each in due:
                if is_dry_run:
                    log.warning(
                        "kept address would be let go", extra={"address": str(each.address)}
                    )
                else:
                    await self._release(check, each)
        except (CloudDenied, EpochLost) as error:
            log.info("kept addresses are not looked at", extra={"error": str(error)})

    async def _unused(self, check: Callable[[], None]) -> list[ReservedAddress]:
        # The cloud first, the leases after it: a lease is there before its address is kept.
        tags = reservation_tags(self._tools.cluster)
        kept = await self._tools.call(check, lambda: self._tools.cloud.find_reserved(tags))
        idle = [each for each in kept if not each.is_used]
        leased = await self._tools.leases.leased_among([each.address for each in idle])
        return [each for each in idle if each.address not in leased]

    def _due(self, unused: Sequence[ReservedAddress], grace_s: float) -> list[ReservedAddress]:
        """Those that were seen before, long enough ago."""
        now_s, before = self._tools.clock.monotonic_s(), self._first_seen_s
        self._first_seen_s = {
            each.reservation: before.get(each.reservation, now_s) for each in unused
        }
        return [
            each
            for each in unused
            if each.reservation in before and now_s - before[each.reservation] >= grace_s
        ]

    async def _release(self, check: Callable[[], None], kept: ReservedAddress) -> None:
        with suppress(CloudNotFound, CloudTaken):
            await self._tools.call(check, lambda: self._tools.cloud.release_reserved(kept))
        log.info("kept address let go", extra={"address": str(kept.address)})
