"""One life of the agent: its incarnation, and the row of its requests.

Every request carries (incarnation, sequence, lowest unsettled sequence). What is below the
lowest unsettled, or of an earlier life, is refused by the store, so late messages stay dead.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.clock import Clock
from shared.errors import BerthError, ErrorCode, Unavailable
from shared.ids import Incarnation, InstanceId, NodeName
from shared.messages.leases import Fence
from shared.messages.nodes import NODE_REGISTER, RegisterRequest
from shared.runtime.backoff import backoff_s
from shared.runtime.pulse import Pulse

from .bus import Bus
from .ledger import Ledger

log = logging.getLogger(__name__)

# This life is over, or the store has lost what it knew of it: another one begins.
DEAD_LIFE: Final = frozenset({ErrorCode.STALE, ErrorCode.NOT_REGISTERED})

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """Who speaks."""

    node: NodeName
    instance: InstanceId
    version: str
    group: str | None = None  # of nodes that share settings
    warm_min: int | None = None  # idle addresses to keep ready, beside what operators say
    warm_max: int | None = None


class Row:
    """The sequences of one incarnation: opened, and settled by a definite answer."""

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self._last = 0
        self._unsettled: set[int] = set()

    def open(self) -> int:
        self._last += 1
        self._unsettled.add(self._last)
        return self._last

    def settle(self, sequence: int) -> None:
        self._unsettled.discard(sequence)

    @property
    def lowest_unsettled(self) -> int:
        return min(self._unsettled, default=self._last + 1)

    def fence(self, sequence: int) -> Fence:
        return Fence(
            incarnation=self.incarnation,
            sequence=sequence,
            lowest_unsettled=min(self.lowest_unsettled, sequence),
        )


class Registration:
    """Begins this life's incarnation at the allocator, again when it is told it is stale."""

    def __init__(
        self, *, bus: Bus, ledger: Ledger, clock: Clock, me: Self, rng: random.Random
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._clock = clock
        self._me = me
        self._rng = rng
        self._row: Row | None = None
        self._lost = asyncio.Event()
        self.changed = Pulse()

    @property
    def row(self) -> Row | None:
        return self._row

    async def wait_row(self, timeout_s: float) -> Row:
        """Fixed leases wait here; Immediate pods never do."""
        if self._row is None and timeout_s > 0:
            await self.changed.wait(timeout_s)
        if self._row is None:
            raise Unavailable(
                "this node is not registered yet (no allocator answered): fixed addresses wait"
            )
        return self._row

    def lose(self, row: Row) -> None:
        """A request of this row was called stale: begin another life, once per row."""
        if self._row is row:
            self._row = None
            self._lost.set()

    async def run(self) -> None:
        """Register, and again whenever the row is lost."""
        waits = backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)
        while True:
            self._lost.clear()
            nonce = f"{self._rng.getrandbits(64):016x}"
            while self._row is None:
                try:
                    self._row = Row(await self._register(nonce))
                except BerthError as error:
                    log.info("not registered yet", extra={"error": str(error)})
                    await asyncio.sleep(next(waits))
            log.info("registered", extra={"incarnation": self._row.incarnation})
            self.changed.give()
            await self._lost.wait()
            await asyncio.sleep(next(waits))

    async def _register(self, nonce: str) -> Incarnation:
        answer = await self._bus.call(
            NODE_REGISTER,
            RegisterRequest(
                deadline=self._clock.now() + timedelta(seconds=NODE_REGISTER.timeout_s),
                node=self._me.node,
                instance=self._me.instance,
                version=self._me.version,
                last_incarnation=self._ledger.node.incarnation,
                nonce=nonce,
            ),
            self._me.node,
        )
        incarnation = Incarnation(answer.incarnation)
        self._ledger.registered(incarnation)
        return incarnation
