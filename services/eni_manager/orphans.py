"""ENIs of ours that no node's book names, once the cluster is disabled: taken away as well.

While it is enabled they are left alone: a book that was lost is written again from the cloud,
and a lease may keep an ENI that is on no node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.ports import EniStore
from services.eni_manager.eni_tags import TAG_CLUSTER, TAG_INTENT
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudNotFound
from shared.cloud.words import Eni, EniState

log = logging.getLogger(__name__)


class Orphans:
    def __init__(self, tools: Tools, store: EniStore) -> None:
        self._tools = tools
        self._cloud = tools.cloud
        self._store = store

    async def sweep(self, check: Callable[[], None]) -> None:
        """`check` raises once this replica does not lead any more."""
        if not self._tools.record.is_disabled:
            return
        # The cloud first: an ENI that a book takes up meanwhile is no orphan.
        ours = await self._cloud.find_enis_tagged({TAG_CLUSTER: self._tools.cluster})
        images = [await self._store.load(node) for node in await self._store.load_nodes()]
        known = {eni for image in images for eni in image.enis}
        begun = {intent for image in images for intent in image.intents}
        lost = [
            each
            for each in ours
            if each.eni not in known and each.tags.get(TAG_INTENT) not in begun
        ]
        kept = await self._tools.leases.leased_among(
            [it.address for each in lost for it in each.addresses]
        )
        with urgent(Urgency.CLEAN_UP):
            for each in lost:
                if not kept & {it.address for it in each.addresses}:
                    await self._remove(each, check)

    async def _remove(self, eni: Eni, check: Callable[[], None]) -> None:
        log.warning("ENI in no book is removed", extra={"eni": eni.eni, "at": eni.instance})
        with suppress(CloudNotFound):
            if (instance := eni.instance) is not None:
                token = self._tools.new_id()
                await self._tools.call(
                    check, lambda: self._cloud.detach_eni(eni.eni, instance, token=token)
                )
                await self._tools.follower.until(
                    eni.eni,
                    lambda it: (
                        it is None or (it.instance is None and it.state is EniState.AVAILABLE)
                    ),
                    timeout_s=self._tools.limits.change_timeout_s,
                )
            await self._tools.call(check, lambda: self._cloud.delete_eni(eni.eni))
