"""Room for pods that wait: retained leases make way, in a full subnet where that is allowed,
and on a full node, whose addresses are then held elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from ipaddress import IPv4Address
from typing import Final

from services.eni_manager.domain.records import Hold
from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools
from shared.errors import BerthError, QuotaReached, SubnetFull
from shared.ids import SubnetId

log = logging.getLogger(__name__)

_EVERY_S: Final = 10.0  # what was ended is handed over and unassigned before more is asked for
_HOLD_EVERY_S: Final = 3.0  # what is held elsewhere leaves within this time
_REFUSED_REST_S: Final = 300.0  # a cloud that keeps no address in use is asked so seldom
_COUNT_MAX: Final = 32


class Room:
    """One node's asking."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools
        self._asked_at_s = -_EVERY_S
        self._holds_from_s = 0.0

    async def ask(self, shortage: BerthError | None, waiting: int) -> None:
        """When pods wait, and only a retained lease can help: no subnet has an address, or the
        node has no place for another."""
        if not waiting:
            return
        if isinstance(shortage, SubnetFull):
            await self._end(waiting)
        elif isinstance(shortage, QuotaReached):
            await self.hold(self._subnets(), waiting)

    async def hold(self, subnets: Sequence[SubnetId], count: int) -> bool:
        """Whether retained leases of these subnets leave the node now: they are held elsewhere
        until their pods come back."""
        now_s, most = self._tools.clock.monotonic_s(), min(count, self._resting(), _COUNT_MAX)
        if now_s < self._holds_from_s or most <= 0 or not self._tools.capacities.gives_back:
            return False
        self._holds_from_s = now_s + _HOLD_EVERY_S
        allocators = self._tools.allocators
        return await self._made(allocators.hold_elsewhere(self._book.node.node, subnets, most))

    def hold_refused(self) -> None:
        """The cloud does not keep addresses: another try is not worth the leases' steps."""
        self._holds_from_s = self._tools.clock.monotonic_s() + _REFUSED_REST_S

    async def _end(self, waiting: int) -> None:
        now_s = self._tools.clock.monotonic_s()
        if now_s - self._asked_at_s < _EVERY_S:
            return
        self._asked_at_s = now_s
        await self._made(
            self._tools.allocators.make_room(
                self._book.node.node, self._subnets(), min(waiting, _COUNT_MAX)
            )
        )

    async def _made(self, asked: Awaitable[Sequence[IPv4Address]]) -> bool:
        node = self._book.node.node
        try:
            addresses = await asked
        except BerthError as error:
            log.info("no room was made", extra={"node": node, "error": str(error)})
            return False
        if addresses:
            log.warning(
                "retained leases make way", extra={"node": node, "count": len(addresses)}
            )
        return bool(addresses)

    def _resting(self) -> int:
        """Addresses on shared ENIs that neither stock nor pods have, by the agent's word."""
        demand, image = self._book.node.demand, self._book.image
        whole = {each.eni for each in image.whole()}
        given = sum(each.eni not in whole for each in image.held(Hold.GIVEN))
        return given - demand.idle - demand.promised - demand.cooling - demand.bound

    def _subnets(self) -> list[SubnetId]:
        node = self._book.node
        assert node.vpc is not None, "a node that grows has joined"
        return [
            each.subnet
            for each in self._tools.subnets.in_vpc(node.vpc)
            if each.zone == node.zone
        ]
