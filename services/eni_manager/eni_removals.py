"""ENIs that a node no longer needs: detached and deleted, once nothing is left on them.

Once a detachment may have been sent there is no way back: a late one would take the ENI from
under pods. So an ENI whose removal has begun is used for nothing any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from services.eni_manager.domain.records import Intent, IntentKind
from services.eni_manager.node_book import NodeBook
from services.eni_manager.sighting import VISIBLE_AFTER_S, Sighting
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudAway, CloudError, CloudNotFound
from shared.cloud.words import Eni, EniState
from shared.ids import EniId

log = logging.getLogger(__name__)

_FIRST_S: Final = 5.0  # between two tries to remove an ENI
_LONGEST_S: Final = 600.0


class EniRemovals:
    """The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools, sighting: Sighting) -> None:
        self._book = book
        self._tools = tools
        self._cloud = tools.cloud
        self._sighting = sighting
        self._next_at_s = 0.0
        self._wait_s = 0.0

    async def begin(self, eni: EniId) -> None:
        """One that carries an address after all is left alone. The agent must have been told
        before that the ENI is no longer one of its node's."""
        assert not self._book.image.on(eni), f"{eni} carries addresses"
        found = await self._sighting.describe(eni)
        if found is not None and found.secondary:
            return
        intent = self._book.begin(self._tools.new_id(), IntentKind.REMOVE_ENI, eni=eni)
        await self._book.write(put=[intent])

    async def finish_all(self) -> None:
        """Those that were begun. One that does not come to its end is in nobody's way, so it
        waits longer each time: a stopped instance may keep its ENIs for days."""
        now_s = self._tools.clock.monotonic_s()
        if now_s < self._next_at_s:
            return
        for intent in list(self._book.image.intents.values()):
            if intent.kind is not IntentKind.REMOVE_ENI:
                continue
            try:
                await self.finish(intent)
            except CloudError as error:
                self._wait_s = min(_LONGEST_S, max(_FIRST_S, self._wait_s * 2))
                self._next_at_s = now_s + self._wait_s
                log.warning(
                    "ENI is not removed yet", extra={"eni": intent.eni, "error": str(error)}
                )
            else:
                self._wait_s = 0.0

    async def finish(self, intent: Intent) -> None:
        assert intent.eni is not None, "a removal names its ENI"
        eni = intent.eni
        if await self.detach(eni, intent.intent):
            await self._delete(eni)
        image = self._book.image
        record = image.enis.get(eni)
        await self._book.write(drop=[*image.on(eni), *([record] if record else []), intent])
        self._tools.vpc_enis.made_room()
        if record is not None:
            self._tools.events.eni("deleted", eni, self._book.node.node, record.subnet)

    async def detach(self, eni: EniId, token: str) -> bool:
        """Off its instance, wherever that is; whether it is still there. Each try has a token
        of its own: a repeated one would only tell again of a detachment that failed."""
        found = await self._sighting.until(
            eni, lambda it: it is None or it.state is EniState.AVAILABLE
        )
        if found is None or found.instance is None:
            return found is not None
        instance = found.instance
        with suppress(CloudNotFound):
            await self._tools.call(
                self._book.check_term,
                lambda: self._cloud.detach_eni(
                    eni, instance, token=f"{token}-{self._tools.new_id()}"
                ),
            )
        shown = await self._decided(eni, lambda it: it.instance is None)
        if shown is None:
            return False
        if shown.instance is not None:
            raise CloudAway("DetachNetworkInterface", "Failed", f"{eni} stayed attached")
        self._tools.events.eni("detached", eni, self._book.node.node, shown.subnet)
        return True

    async def _delete(self, eni: EniId) -> None:
        with suppress(CloudNotFound):
            await self._tools.call(self._book.check_term, lambda: self._cloud.delete_eni(eni))
        if await self._decided(eni, lambda _: False) is not None:
            raise CloudAway("DeleteNetworkInterface", "Failed", f"{eni} is still there")

    async def _decided(self, eni: EniId, is_so: Callable[[Eni], bool]) -> Eni | None:
        """Until it is gone, or settled and so, or settled for so long that the call failed."""
        failed_at_s = self._tools.clock.monotonic_s() + VISIBLE_AFTER_S

        def is_decided(found: Eni | None) -> bool:
            if found is None:
                return True
            is_late = self._tools.clock.monotonic_s() > failed_at_s
            return found.state is EniState.AVAILABLE and (is_late or is_so(found))

        return await self._sighting.until(eni, is_decided)
