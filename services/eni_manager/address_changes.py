"""Addresses of one node's ENIs assigned and unassigned, each with its intent written first.

Unassigning and migrating have no ClientToken. A call of theirs whose end is not known, or that
an earlier owner of the node may have left in flight, can take an address off its ENI until its
signature has expired: until then such an address is handed to nobody on that ENI.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from services.eni_manager.domain.records import Hold, Intent, IntentKind
from services.eni_manager.fresh_addresses import fresh_addresses
from services.eni_manager.node_book import NodeBook
from services.eni_manager.sighting import VISIBLE_AFTER_S, Sighting
from services.eni_manager.tools import Tools
from shared.cloud.errors import RETRIED, CloudAway, CloudError, CloudNotFound
from shared.cloud.port import ADDRESSES_PER_CALL_MAX
from shared.cloud.words import AddressPhase, Eni
from shared.errors import BerthError, EpochLost, SubnetFull, Unavailable
from shared.ids import EniId

log = logging.getLogger(__name__)


class AddressChanges:
    """The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools, sighting: Sighting) -> None:
        self._book = book
        self._tools = tools
        self._cloud = tools.cloud
        self._sighting = sighting

    async def assign(self, eni: EniId, count: int) -> None:
        """Up to `count` addresses of the cloud's choice, on their way to the agent.
        Raises SubnetFull."""
        subnet = self._book.image.enis[eni].subnet
        intent_id = self._tools.new_id()
        call = self._book.call_of(intent_id)
        taken = await self._tools.headroom.take(call, [subnet], least=1, most=count)
        if taken is None:
            self._tools.subnets.note_free(subnet, 0)
            raise SubnetFull(f"{subnet}: what is free is on its way to other nodes")
        self._tools.subnets.note_free(subnet, taken.left)
        try:
            intent = self._book.begin(
                intent_id, IntentKind.ASSIGN, eni=eni, subnet=subnet, count=taken.count
            )
            await self._book.write(put=[intent])
        except BerthError:
            await self._tools.headroom.give_back(call, taken.subnet)
            raise
        await self.finish_assign(intent)

    async def finish_assign(self, intent: Intent) -> None:
        assert intent.eni is not None, "addresses are assigned to an ENI"
        eni = intent.eni
        try:
            addresses = await self._tools.call(
                self._book.check_term,
                lambda: self._cloud.assign_count(eni, intent.count, token=intent.intent),
            )
        except RETRIED:
            raise
        except CloudError as error:
            if intent.subnet is not None and isinstance(error, SubnetFull):
                self._tools.subnets.refused(intent.subnet, error)
            await self._give_back(intent)
            raise
        visible_at_s = self._tools.clock.monotonic_s() + VISIBLE_AFTER_S

        def is_decided(found: Eni) -> bool:
            phases = {found.phase_of(each) for each in addresses}
            if None in phases and self._tools.clock.monotonic_s() <= visible_at_s:
                return False
            return AddressPhase.PENDING not in phases

        try:
            shown = await self._sighting.there(eni, is_decided)
        except CloudNotFound:
            await self._give_back(intent)
            raise
        came = [each for each in addresses if shown.phase_of(each) is not None]
        fresh = fresh_addresses(self._book.image, eni, came)
        await self._book.write(put=fresh, drop=[intent])
        if intent.subnet is not None:
            self._tools.subnets.worked(intent.subnet)
            await self._tools.headroom.settle(self._book.call_of(intent.intent), intent.subnet)
        for each in fresh:
            self._tools.events.address(
                "assigned", each.address, eni, self._book.node.node, None
            )

    async def finish_unassign(self, intent: Intent) -> None:
        """The addresses leave their ENI; one that has left already is a success."""
        assert intent.eni is not None, "an unassignment names its ENI"
        try:
            used = await self._used_again(intent)
        except (Unavailable, EpochLost) as error:
            log.info("an unassignment waits", extra={"eni": intent.eni, "error": str(error)})
            return
        leaving = tuple(each for each in intent.addresses if each not in used)
        is_doubtful = self._book.is_of_earlier_term(intent)
        for start in range(0, len(leaving), ADDRESSES_PER_CALL_MAX):
            batch = leaving[start : start + ADDRESSES_PER_CALL_MAX]
            is_doubtful |= not await self.take_off(intent.eni, batch)
        if is_doubtful:
            await self.embargo(intent.eni, leaving)
        known = self._book.image.addresses
        given = [replace(known[each], hold=Hold.GIVEN) for each in used if each in known]
        gone = [known[each] for each in leaving if each in known]
        await self._book.write(put=given, drop=[*gone, intent])
        for each in leaving:
            self._tools.events.address(
                "unassigned", each, intent.eni, self._book.node.node, None
            )

    async def _used_again(self, intent: Intent) -> set[IPv4Address]:
        """A store that was put back tells of what ended long ago: an address that the agent, or
        a lease, has by now is theirs. Raises Unavailable or EpochLost while that is unknown."""
        if not self._book.is_of_earlier_term(intent):
            return set()
        held = await self._tools.agents.inventory(self._book.node.node)
        leased = await self._tools.leases.leased_among(intent.addresses)
        return set(intent.addresses) & (held | leased)

    async def embargo(self, eni: EniId, addresses: Sequence[IPv4Address]) -> None:
        """A call that may still arrive can take these off the ENI."""
        until = self._tools.clock.now() + self._tools.limits.in_flight_max
        await self._tools.embargoes.begin(eni, addresses, until)

    async def end_moves(self, intents: Sequence[Intent]) -> None:
        """Drop what moves left; a migration that may still arrive is kept in mind."""
        for intent in intents:
            if intent.source is not None and self._book.is_of_earlier_term(intent):
                await self.embargo(intent.source, intent.addresses)
        await self._book.write(drop=intents)

    async def take_off(self, eni: EniId, addresses: tuple[IPv4Address, ...]) -> bool:
        """Unassign what the ENI has of them; whether the end of every call is known."""
        is_known = True

        def remaining(found: Eni | None) -> list[IPv4Address]:
            return [it for it in addresses if found and found.phase_of(it) is not None]

        async def send() -> None:
            nonlocal is_known
            try:
                await self._cloud.unassign(eni, left)
            except CloudAway:
                is_known = False
                raise

        if left := remaining(await self._sighting.describe(eni)):
            try:
                await self._tools.call(self._book.check_term, send)
            except CloudNotFound:
                # One of them has left: the others are asked for again in the next round.
                if remaining(await self._sighting.describe(eni)):
                    raise
        await self._sighting.until(eni, lambda it: not remaining(it))
        return is_known

    async def _give_back(self, intent: Intent) -> None:
        await self._book.write(drop=[intent])
        if intent.subnet is not None:
            await self._tools.headroom.give_back(
                self._book.call_of(intent.intent), intent.subnet
            )
