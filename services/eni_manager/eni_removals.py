"""ENIs that a node no longer needs: detached and deleted, once nothing is left on them.

Once a detachment may have been sent there is no way back: a late one would take the ENI from
under pods. So an ENI whose removal has begun is used for nothing any more.
"""

from __future__ import annotations

from contextlib import suppress

from services.eni_manager.domain.records import Intent, IntentKind
from services.eni_manager.node_book import NodeBook
from services.eni_manager.sighting import VISIBLE_AFTER_S, Sighting
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudAway, CloudNotFound
from shared.cloud.words import Eni, EniState
from shared.ids import EniId


class EniRemovals:
    """The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools, sighting: Sighting) -> None:
        self._book = book
        self._tools = tools
        self._cloud = tools.cloud
        self._sighting = sighting

    async def begin(self, eni: EniId) -> None:
        """One that carries an address after all is left alone. The agent must have been told
        before that the ENI is no longer one of its node's."""
        assert not self._book.image.on(eni), f"{eni} carries addresses"
        found = await self._sighting.describe(eni)
        if found is not None and found.secondary:
            return
        intent = self._book.begin(
            self._tools.new_id(),
            IntentKind.REMOVE_ENI,
            eni=eni,
            subnet=self._book.image.enis[eni].subnet,
        )
        await self._book.write(put=[intent])

    async def finish(self, intent: Intent) -> None:
        assert intent.eni is not None, "a removal names its ENI"
        eni = intent.eni
        found = await self._sighting.describe(eni)
        if found is not None:
            await self._delete(await self._detached(found, intent))
        record = self._book.image.enis.get(eni)
        await self._book.write(drop=[intent, *([record] if record else [])])
        if intent.subnet is not None:
            self._tools.events.eni("deleted", eni, self._book.node.node, intent.subnet)

    async def _detached(self, found: Eni, intent: Intent) -> EniId:
        """Each try has a token of its own, as an attachment has."""
        eni = found.eni
        settled = await self._sighting.until(
            eni, lambda it: it is None or it.state is EniState.AVAILABLE
        )
        if settled is None or settled.instance is None:
            return eni
        instance = settled.instance
        token = f"{intent.intent}-{self._tools.new_id()}"
        with suppress(CloudNotFound):
            await self._tools.call(
                self._book.check_term,
                lambda: self._cloud.detach_eni(eni, instance, token=token),
            )
        failed_at_s = self._tools.clock.monotonic_s() + VISIBLE_AFTER_S

        def is_decided(it: Eni | None) -> bool:
            if it is None or (it.state is EniState.AVAILABLE and it.instance is None):
                return True
            return it.state is EniState.AVAILABLE and (
                self._tools.clock.monotonic_s() > failed_at_s
            )

        shown = await self._sighting.until(eni, is_decided)
        if shown is not None and shown.instance is not None:
            raise CloudAway("DetachNetworkInterface", "Failed", f"{eni} stayed attached")
        return eni

    async def _delete(self, eni: EniId) -> None:
        with suppress(CloudNotFound):
            await self._tools.call(self._book.check_term, lambda: self._cloud.delete_eni(eni))
        failed_at_s = self._tools.clock.monotonic_s() + VISIBLE_AFTER_S

        def is_decided(it: Eni | None) -> bool:
            is_late = self._tools.clock.monotonic_s() > failed_at_s
            return it is None or (is_late and it.state is EniState.AVAILABLE)

        if await self._sighting.until(eni, is_decided) is not None:
            raise CloudAway("DeleteNetworkInterface", "Failed", f"{eni} is still there")
