"""Addresses that rest: until their time is over, or, while pods wait, until they are flushed.

An address that cools is never counted as free. When a pod waits and nothing is idle, the one
that rests longest may go on early, once it has rested for the least time and the kernel has
forgotten every connection of its last pod.
"""

from __future__ import annotations

import logging
from collections.abc import Container
from datetime import timedelta

from shared.annotations import NetworkMode
from shared.clock import Clock
from shared.errors import BerthError
from shared.ids import EniId
from shared.telemetry.metrics import COOLING_SHORTENED_TOTAL

from .bus import Signals
from .domain.attachments import ClaimPhase
from .domain.ports import Kernel
from .failures import Failures, Wish
from .ledger import Ledger

log = logging.getLogger(__name__)

_EARLY_MAX = 32  # of one look: each pod that waits needs one


class Cooling:
    def __init__(
        self,
        *,
        ledger: Ledger,
        kernel: Kernel,
        failures: Failures,
        usable: Container[EniId],
        clock: Clock,
        signals: Signals,
        span: timedelta,
        least: timedelta,
    ) -> None:
        self._ledger = ledger
        self._kernel = kernel
        self._failures = failures
        self._usable = usable
        self._clock = clock
        self._signals = signals
        self._span = span
        self._least = least

    async def look(self) -> None:
        """What has rested long enough is stock again; under scarcity, a few before that."""
        rested = self._ledger.rest(self._clock.now(), self._span)
        wanted = min(self._wanting(), _EARLY_MAX)
        if wanted and self._ledger.choose(self._usable) is None:
            rested += self._rest_early(wanted)
        if rested:
            self._signals.give_all()

    def _wanting(self) -> int:
        """Pods that have found nothing idle, under either policy."""
        claims = sum(
            claim.phase is ClaimPhase.ACQUIRING
            and claim.candidate is None
            and not claim.is_abandoned
            for claim in self._ledger.claims.values()
        )
        return claims + self._failures.waiting_now[Wish(mode=NetworkMode.SHARED)]

    def _rest_early(self, count: int) -> int:
        chosen = self._ledger.stock.longest_cooling(
            count, self._usable, by=self._clock.now() - self._least
        )
        if not chosen:
            return 0
        addresses = [holding.address for holding in chosen]
        try:
            self._kernel.forget_connections(addresses)
        except BerthError as error:  # they rest on: not known to be clean
            log.warning("cooling is not shortened", extra={"error": str(error)})
            return 0
        self._ledger.rest_early(addresses, self._clock.now())
        COOLING_SHORTENED_TOTAL.inc(len(addresses))
        return len(addresses)
