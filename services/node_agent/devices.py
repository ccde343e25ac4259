"""What kubelet is told of this node's addresses: a few healthy slots of a resource, or many.

Only how many there are is decided here and in `domain/devices.py`; which address a pod gets is
the ADD's affair, so a slot that kubelet gives a pod reserves nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from shared.addresses import AddressState
from shared.annotations import NetworkMode
from shared.clock import Clock
from shared.errors import InvalidInput, Unavailable
from shared.runtime.pulse import Pulse

from .domain.devices import Capacity, Slots, Supply
from .ledger import Ledger

log = logging.getLogger(__name__)

_IN_USE: Final = (
    AddressState.BOUND_IMMEDIATE,
    AddressState.BOUND_FIXED,
    AddressState.PROMISED,
)
_ADMISSION: Final = timedelta(minutes=2)  # kubelet lists what it took only later


class Kubelet(Protocol):
    """The one question asked of kubelet."""

    async def taken(self, mode: NetworkMode) -> frozenset[str]:
        """The slots that kubelet has given to pods. Raises Unavailable."""
        ...


class Devices:
    """The slots of one resource, kept in step with the node."""

    def __init__(
        self,
        mode: NetworkMode,
        *,
        ledger: Ledger,
        kubelet: Kubelet,
        clock: Clock,
        hold: timedelta,
    ) -> None:
        self.mode = mode
        self.changed = Pulse()
        self._ledger = ledger
        self._kubelet = kubelet
        self._clock = clock
        self._slots = Slots(hold)
        self._given: dict[str, datetime] = {}  # by our Allocate, perhaps not listed yet

    @property
    def is_known(self) -> bool:
        """Whether the node's capacity was ever told: before that nothing is registered."""
        return self._ledger.capacity is not None

    def shown(self) -> list[tuple[str, bool]]:
        """Every slot, and whether it is healthy."""
        return [(slot, slot in self._slots.healthy) for slot in self._slots.all]

    async def round(self) -> None:
        """Look at the node again, and tell kubelet what changed."""
        capacity = self._ledger.capacity
        if capacity is None:
            return
        supply, now = self._supply(capacity), self._clock.now()
        healthy = self._slots.due(supply, now)
        taken: frozenset[str] = frozenset()
        if self._slots.takes_away(supply, healthy):
            try:
                taken = await self._kubelet.taken(self.mode) | self._lately_given(now)
            except Unavailable as error:  # whose slots they are is unknown: none goes
                log.info("slots are kept", extra={"mode": self.mode, "why": str(error)})
                return
        if self._slots.show(supply, healthy, taken):
            self.changed.give()

    def allocate(self, slots: Sequence[str]) -> None:
        """kubelet gives these to a container. Raises when one is not healthy."""
        for slot in slots:
            if slot not in self._slots.healthy:
                raise InvalidInput.of("device", slot, f"a healthy slot of {self.mode}")
        self._given |= dict.fromkeys(slots, self._clock.now())

    def _lately_given(self, now: datetime) -> frozenset[str]:
        self._given = {
            slot: since for slot, since in self._given.items() if now - since < _ADMISSION
        }
        return frozenset(self._given)

    def _supply(self, capacity: Capacity) -> Supply:
        states = self._ledger.states(self.mode)
        is_whole = self.mode is NetworkMode.EXCLUSIVE
        return Supply(
            total=capacity.enis_max if is_whole else capacity.addresses_max,
            in_use=sum(states[each] for each in _IN_USE),
            ready=states[AddressState.STOCK],
            obtainable=capacity.enis_free if is_whole else capacity.addresses_free,
        )
