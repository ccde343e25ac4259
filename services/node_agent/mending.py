"""``agent.<node>.mend``: a person asked this node to compare and put right now."""

from __future__ import annotations

import logging

from shared.addresses import AddressState
from shared.clock import Clock
from shared.errors import LeaseInUse, NotAuthorised
from shared.ids import EniId, Generation, NodeName, PodUid
from shared.messages.nodes import Mended, MendRequest, OfferedAddress, UnusedLease

from .bus import Signals
from .domain.attachments import Claim, ClaimPhase
from .ledger import Ledger
from .outbox import Outbox
from .repair import Repairer

log = logging.getLogger(__name__)


class Mending:
    """What goes on by itself every few seconds, at once; and what others found amiss."""

    def __init__(
        self,
        *,
        node: NodeName,
        repairer: Repairer,
        outbox: Outbox,
        ledger: Ledger,
        clock: Clock,
        signals: Signals,
    ) -> None:
        self._node = node
        self._repairer = repairer
        self._outbox = outbox
        self._ledger = ledger
        self._clock = clock
        self._signals = signals

    async def mend(self, request: MendRequest) -> Mended:
        if request.node != self._node:
            raise NotAuthorised(f"node: this is {self._node!r}, not {request.node!r}")
        struck = sum([self._strike(each) for each in request.lost])
        released = sum([self._release(each) for each in request.unused])
        repaired = self._repairer.round()
        self._outbox.tell_all()
        self._signals.give_all()
        return Mended(repaired=repaired, struck=struck, released=released)

    def _strike(self, lost: OfferedAddress) -> bool:
        """One that is at the cloud after all is nobody's then, and offered again."""
        held = self._ledger.stock.get(lost.address)
        if held is None or held.eni != lost.eni or not self._ledger.strike_lost(lost.address):
            return False
        log.warning("free address struck off", extra={"address": str(lost.address)})
        return True

    def _release(self, lease: UnusedLease) -> bool:
        """As after a DEL: on disk first, then said until it is answered."""
        key = lease.attachment.to_key()
        held = self._ledger.stock.get(lease.address)
        is_free = held is None or held.state is AddressState.STOCK
        if key in self._ledger.claims or self._ledger.attachments.get(key) or not is_free:
            return False
        now = self._clock.now()
        claim = Claim(
            key=key,
            identity=lease.identity.to_identity(),
            pod_uid=PodUid(lease.pod_uid),
            expires_after=None,
            phase=ClaimPhase.RELEASING,
            candidate=None,
            address=lease.address,
            eni=EniId(lease.eni),
            generation=Generation(lease.generation),
            since=now,
        )
        try:
            self._ledger.fix(claim, is_candidate_taken=False, now=now)
        except LeaseInUse:
            return False
        log.warning("bind without a pod is released", extra={"identity": str(claim.identity)})
        return True
