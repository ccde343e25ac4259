"""Offers and recalls: how addresses change hands between the eni_manager and a node's agent.

An address is the agent's once it has said so, and the eni_manager's again once the agent has
struck it off; no answer means neither.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Address

from services.eni_manager.domain.records import (
    AddressRecord,
    EniRecord,
    Hold,
    Intent,
    IntentKind,
    Purpose,
    Record,
)
from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools
from shared.errors import EpochLost, Unavailable
from shared.ids import EniId, SubnetId

log = logging.getLogger(__name__)

_SETTLED_MAX = 64
_REFUSED_REASON = "its agent refused the offer, and no lease names it"


class Stock:
    """One node's exchange with its agent. The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools
        self._kept_back: frozenset[IPv4Address] = frozenset()
        self._kept_until: datetime | None = None
        self._has_offered = False  # else an eni_manager before this one may have
        self._in_doubt: set[IPv4Address] = set()  # offered, and no answer was heard

    def coming(self, purpose: Purpose) -> int:
        """Addresses on ENIs of this purpose that the agent will be offered."""
        return self.coming_in(purpose).total()

    def coming_in(self, purpose: Purpose) -> Counter[SubnetId]:
        """The same by subnet."""
        enis = self._book.image.enis
        return Counter(
            enis[each.eni].subnet
            for each in self._book.image.held(Hold.ASSIGNING)
            if each.eni in enis
            and enis[each.eni].purpose is purpose
            and each.address not in self._kept_back
        )

    async def offer(
        self, *, without: EniId | None = None, lost: Collection[IPv4Address] = ()
    ) -> list[EniRecord]:
        """Offer everything the agent has not taken; the ENI of each address it took. An ENI
        that is about to be removed is named no more; what was lost is named. Raises
        Unavailable."""
        image = self._book.image
        offered = await self._not_taken_yet(
            [each for each in image.held(Hold.ASSIGNING) if each.address not in self._kept_back]
        )
        answer = await self._tools.agents.offer(
            self._book.node.node,
            self._book.next_order(),
            [it for it in image.enis.values() if it.eni not in image.leaving() | {without}],
            offered,
            lost,
        )
        self._in_doubt -= {each.address for each in offered}
        taken = [each for each in offered if each.address in answer.accepted]
        refused = [each for each in offered if each.address in answer.refused]
        await self._book.write(put=[replace(each, hold=Hold.GIVEN) for each in taken])
        if refused:
            await self._book.write(put=await self._judge(refused))
        return [image.enis[each.eni] for each in taken if each.eni in image.enis]

    async def _not_taken_yet(self, offered: list[AddressRecord]) -> list[AddressRecord]:
        """Without what was offered before, maybe accepted, and is a lease's by now: the agent
        that has released the lease since would take it for stock. While leases cannot be
        asked, what is in doubt waits."""
        doubted = {each.address for each in offered}
        if self._has_offered:
            doubted &= self._in_doubt
        leased: set[IPv4Address] = set()
        if doubted:
            try:
                leased = await self._tools.leases.leased_among(sorted(doubted))
            except EpochLost as error:
                log.info("leases cannot be asked", extra={"error": str(error)})
                return [each for each in offered if each.address not in doubted]
        self._has_offered = True
        given = [replace(each, hold=Hold.GIVEN) for each in offered if each.address in leased]
        if given:
            await self._book.write(put=given)
        left = [each for each in offered if each.address not in leased]
        self._in_doubt = {each.address for each in left}
        return left

    async def look_at_embargoes(self) -> bool:
        """Whether one has ended: a late call may have taken what it was about off its ENI, so
        the cloud is to be looked at before that is offered."""
        fresh = self._book.image.held(Hold.ASSIGNING)
        under = await self._tools.embargoes.among([(it.eni, it.address) for it in fresh])
        before, self._kept_back = self._kept_back, frozenset(address for _, address in under)
        self._kept_until = max(under.values(), default=None)
        return not before <= self._kept_back

    def reason_kept_back(self) -> str | None:
        """Why the agent is not offered all there is, and until when."""
        if self._kept_until is None or self._kept_until <= self._tools.clock.now():
            return None
        return (
            f"{len(self._kept_back)} addresses here are kept back, because a call that is still"
            f" in flight may take them off their ENI, until {self._kept_until:%H:%M:%S} UTC"
        )

    async def begin_recall(
        self, count: int, eni: EniId | None, purpose: Purpose = Purpose.SHARED
    ) -> list[IPv4Address]:
        """Ask for idle addresses back. What is got is unassigned by `EniChanges.finish`; an
        ENI that one pod may have goes as a whole."""
        intent = self._book.begin(
            self._tools.new_id(), IntentKind.RECALL, eni=eni, count=count, purpose=purpose
        )
        await self._book.write(put=[intent])
        return await self.finish_recall(intent)

    async def finish_recall(self, intent: Intent) -> list[IPv4Address]:
        """Repeat the recall under its own id until it is answered. Raises Unavailable."""
        settled = self._book.node.settled
        addresses = await self._tools.agents.recall(
            self._book.node.node,
            self._book.next_order(),
            recall=intent.intent,
            eni=intent.eni,
            count=intent.count,
            settled=settled,
            is_exclusive=intent.purpose is Purpose.EXCLUSIVE,
        )
        known = self._book.image.addresses
        struck = [known[each] for each in addresses if each in known]
        await self._book.change_node(
            lambda node: replace(
                node,
                settled=(*(it for it in node.settled if it not in settled), intent.intent)[
                    -_SETTLED_MAX:
                ],
            ),
            put=self._leave(intent.intent, struck),
            drop=[intent],
        )
        return addresses

    def _leave(self, prefix: str, struck: Sequence[AddressRecord]) -> list[Record]:
        """They are the eni_manager's, and are to go back to their subnets."""
        by_eni: dict[EniId, list[IPv4Address]] = {}
        for each in struck:
            by_eni.setdefault(each.eni, []).append(each.address)
        unassign = [
            self._book.begin(f"{prefix}-{eni}", self._way_out(eni), eni=eni, addresses=group)
            for eni, group in by_eni.items()
        ]
        return [*(replace(each, hold=Hold.UNASSIGNING) for each in struck), *unassign]

    def _way_out(self, eni: EniId) -> IntentKind:
        record = self._book.image.enis.get(eni)
        is_whole = record is not None and record.is_exclusive
        return IntentKind.REMOVE_ENI if is_whole else IntentKind.UNASSIGN

    async def free_reclaimed(self) -> None:
        """What expired leases left is offered once the allocator has forgotten them; what a
        full subnet lacks goes back to it, unless pods wait right here."""
        held = self._book.image.held(Hold.RECLAIMED)
        try:
            leased = await self._tools.leases.leased_among([each.address for each in held])
        except EpochLost as error:
            log.info("leases cannot be asked", extra={"error": str(error)})
            return
        free = [each for each in held if each.address not in leased]
        lacking = await self._unused([each for each in free if self._is_lacking(each)])
        kept = [replace(each, hold=Hold.ASSIGNING) for each in free if each not in lacking]
        await self._book.write(put=[*kept, *self._leave(self._tools.new_id(), lacking)])

    async def _unused(self, lacking: list[AddressRecord]) -> list[AddressRecord]:
        """Without those that a pod may still have: of a lease that was ended by force."""
        if not lacking:
            return []
        try:
            used = await self._tools.agents.inventory(self._book.node.node)
        except Unavailable:
            return []
        return [each for each in lacking if each.address not in used]

    def _is_lacking(self, record: AddressRecord) -> bool:
        eni = self._book.image.enis.get(record.eni)
        subnet = None if eni is None else self._tools.subnets.find(eni.subnet)
        is_full = subnet is not None and subnet.free == 0
        return is_full and not self._book.node.demand.has_waiting

    async def _judge(self, refused: list[AddressRecord]) -> list[AddressRecord]:
        """A refused address is a fixed lease's here, by the store's word or the agent's, which
        may not have heard yet that its lease is no more; or it is in doubt."""
        addresses = [each.address for each in refused]
        leased = await self._tools.leases.leased_among(addresses)
        leased |= await self._tools.agents.inventory(self._book.node.node)
        return [
            replace(each, hold=Hold.GIVEN)
            if each.address in leased
            else replace(each, hold=Hold.QUARANTINED, reason=_REFUSED_REASON)
            for each in refused
        ]
