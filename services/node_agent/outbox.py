"""What the allocator must hear of this node: releases, each until it is answered, and reports.

Releases are in the book, so they outlive this process; each goes after the definite answer to
its acquire. Reports carry the newest state per address and may be said again at any time.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Final, Literal

from shared.addresses import AddressState
from shared.clock import Clock
from shared.errors import BerthError
from shared.ids import Identity, NodeName
from shared.messages.base import BATCH_MAX, AttachmentFields, IdentityFields
from shared.messages.leases import (
    LEASE_RELEASE,
    LEASE_REPORT,
    ReleaseRequest,
    ReportedAddress,
    ReportRequest,
)
from shared.telemetry.metrics import OUTBOX_OLDEST_SECONDS

from .bus import Bus
from .domain.attachments import Claim, ClaimPhase
from .domain.ports import User
from .domain.stock import Holding
from .fixed import FixedLeases, withdrawn_of
from .ledger import Ledger
from .registration import DEAD_LIFE, Registration, Row

log = logging.getLogger(__name__)

_ROW_WAIT_S: Final = 1.0
_Told = Literal[AddressState.BOUND_IMMEDIATE, AddressState.COOLING, AddressState.STOCK]
_TOLD: Final[dict[AddressState, _Told]] = {
    AddressState.BOUND_IMMEDIATE: AddressState.BOUND_IMMEDIATE,
    AddressState.COOLING: AddressState.COOLING,
    AddressState.STOCK: AddressState.STOCK,
}


class Outbox:
    """Delivers in rounds; a round is woken by whoever has something to tell."""

    def __init__(
        self,
        *,
        bus: Bus,
        ledger: Ledger,
        registration: Registration,
        fixed: FixedLeases,
        clock: Clock,
        node: NodeName,
        in_flight_max: int,
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._registration = registration
        self._fixed = fixed
        self._clock = clock
        self._node = node
        self._in_flight_max = in_flight_max
        self._told_row: Row | None = None  # the row under which everything was told once

    def tell_all(self) -> None:
        """The next round tells everything once more, as the first of a life does."""
        self._told_row = None

    async def deliver(self) -> None:
        """One round: every release once, then what has changed."""
        waiting = self._waiting()
        self._measure(waiting)
        if not waiting and not self._has_news():
            return
        row = await self._registration.wait_row(_ROW_WAIT_S)
        while waiting:
            batch, waiting = waiting[: self._in_flight_max], waiting[self._in_flight_max :]
            async with asyncio.TaskGroup() as group:
                for claim in batch:
                    group.create_task(self._release(claim, row), name=f"release {claim.key}")
        if self._has_news():
            await self._report(row)
        self._measure(self._waiting())

    def _waiting(self) -> list[Claim]:
        claims = self._ledger.claims.values()
        return sorted(
            (claim for claim in claims if claim.phase is ClaimPhase.RELEASING),
            key=lambda claim: claim.since,
        )

    def _measure(self, waiting: list[Claim]) -> None:
        now = self._clock.now()
        oldest_s = max(((now - claim.since).total_seconds() for claim in waiting), default=0.0)
        OUTBOX_OLDEST_SECONDS.set(oldest_s)

    def _has_news(self) -> bool:
        return bool(
            self._ledger.unreported
            or self._ledger.gone
            or self._fixed.is_settling
            or self._told_row is not self._registration.row
        )

    async def _release(self, claim: Claim, row: Row) -> None:
        assert claim.generation is not None, "only a bound claim is released"
        sequence = row.open()
        try:
            await self._bus.call(
                LEASE_RELEASE,
                ReleaseRequest(
                    deadline=self._clock.now() + timedelta(seconds=LEASE_RELEASE.timeout_s),
                    node=self._node,
                    fence=row.fence(sequence),
                    identity=IdentityFields.of(claim.identity),
                    attachment=AttachmentFields.of(claim.key),
                    pod_uid=claim.pod_uid,
                    generation=claim.generation,
                ),
                self._node,
            )
        except BerthError as error:
            # Said again in the next round; a second release of one bind changes nothing.
            row.settle(sequence)
            if error.code in DEAD_LIFE:
                self._registration.lose(row)
            log.info("release not delivered", extra={"error": str(error)})
            return
        row.settle(sequence)
        self._ledger.released(claim)
        self._fixed.settled.give()

    async def _report(self, row: Row) -> None:
        is_whole = self._told_row is not row
        if is_whole:
            self._ledger.unreported |= {each.address for each in self._ledger.stock}
        addresses = sorted(self._ledger.unreported)[:BATCH_MAX]
        gone = sorted(self._ledger.gone)[:BATCH_MAX]
        told = [each for each in map(self._ledger.stock.get, addresses) if each is not None]
        sequence = row.open()
        fence = row.fence(sequence)
        dying = self._fixed.dying(row, fence.lowest_unsettled)[:BATCH_MAX]
        request = ReportRequest(
            deadline=self._clock.now() + timedelta(seconds=LEASE_REPORT.timeout_s),
            node=self._node,
            fence=fence,
            # A node with more addresses than one message holds tells them as changes.
            is_whole=is_whole and len(self._ledger.unreported) <= BATCH_MAX,
            addresses=[self._reported(each) for each in told if each.state in _TOLD],
            gone=tuple(gone),
            withdrawn=tuple(address for claim in dying for address in withdrawn_of(claim)),
        )
        self._ledger.unreported.difference_update(addresses)
        self._ledger.gone.difference_update(gone)
        try:
            reported = await self._bus.call(LEASE_REPORT, request, self._node)
        except BerthError as error:
            self._ledger.unreported.update(each for each in addresses if self._is_told(each))
            self._ledger.gone.update(each for each in gone if not self._is_told(each))
            if error.code in DEAD_LIFE:
                self._registration.lose(row)
            raise
        finally:
            row.settle(sequence)
        self._told_row = row
        self._fixed.heard(dying, reported.leased)

    def _is_told(self, address: IPv4Address) -> bool:
        held = self._ledger.stock.get(address)
        return held is not None and held.state in _TOLD

    def _reported(self, holding: Holding) -> ReportedAddress:
        user = self._ledger.users.get(holding.address)
        identity = identity_of(user)
        return ReportedAddress(
            address=holding.address,
            eni=holding.eni,
            state=_TOLD[holding.state],
            identity=None if identity is None else IdentityFields.of(identity),
            pod_uid=None if user is None else user.pod_uid,
            since=holding.since,
        )


def identity_of(user: User | None) -> Identity | None:
    if user is None or user.pod is None:
        return None
    return Identity(user.pod.namespace, user.pod.name, user.network)
