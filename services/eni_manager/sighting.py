"""Waits for an ENI, or for an address on it, to become what a call is to make of it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final

from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudNotFound
from shared.cloud.words import AddressPhase, Eni
from shared.ids import EniId

# What was made and is not shown after this time has failed at the cloud.
VISIBLE_AFTER_S: Final = 5.0


class Sighting:
    """Looks at the cloud for one node."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools

    async def describe(self, eni: EniId) -> Eni | None:
        found = await self._tools.call(
            self._book.check_term, lambda: self._tools.cloud.describe_enis([eni])
        )
        return found[0] if found else None

    async def until(self, eni: EniId, wanted: Callable[[Eni | None], bool]) -> Eni | None:
        return await self._tools.follower.until(
            eni, wanted, timeout_s=self._tools.limits.change_timeout_s
        )

    async def there(self, eni: EniId, wanted: Callable[[Eni], bool]) -> Eni:
        """Wait for the ENI. Raises CloudNotFound when it does not exist (any more)."""
        visible_at_s = self._tools.clock.monotonic_s() + VISIBLE_AFTER_S

        def is_decided(found: Eni | None) -> bool:
            if found is None:
                return self._tools.clock.monotonic_s() > visible_at_s
            return wanted(found)

        found = await self.until(eni, is_decided)
        if found is None:
            raise CloudNotFound("DescribeNetworkInterfaces", "ResourceNotFound", f"no {eni}")
        return found

    async def settled(self, eni: EniId, address: IPv4Address) -> Eni | None:
        """Wait until the address works on the ENI, or is no more on it."""

        def is_decided(found: Eni | None) -> bool:
            phase = found.phase_of(address) if found else None
            return phase in (None, AddressPhase.AVAILABLE)

        return await self.until(eni, is_decided)
