"""The node's addresses as kubelet counts them: device slots, never addresses (pure).

kubelet refuses and fails pods whose devices vanish. So more is shown at once and fewer only
slowly, and never fewer than what is in use and in stock; a slot that a pod has stays healthy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

_SLOTS_MAX: Final = 9999  # the digits of a slot's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the eni_manager says the node may have, and what it could still be given now."""

    addresses_max: int
    addresses_free: int
    enis_max: int
    enis_free: int

    def with_nothing_free(self) -> Capacity:
        """As it is remembered: what could be given then may be gone now."""
        return replace(self, addresses_free=0, enis_free=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What stands behind one resource."""

    total: int  # by quota and pod maximum
    in_use: int
    ready: int  # idle on this node
    obtainable: int  # what the subnets can still give

    @property
    def healthy(self) -> int:
        held = self.in_use + self.ready
        return max(held, min(self.total, held + self.obtainable))


class Slots:
    """The slots of one resource as kubelet is shown them."""

    def __init__(self, hold: timedelta) -> None:
        self._hold = hold
        self._fewer_since: datetime | None = None
        self._most_since = 0  # the most that was there since then
        self.all: tuple[str, ...] = ()
        self.healthy: frozenset[str] = frozenset()

    def due(self, supply: Supply, now: datetime) -> int:
        """How many healthy slots to show now; fewer than shown only after a while."""
        wanted = supply.healthy
        if wanted >= len(self.healthy):
            self._fewer_since = None
            return wanted
        if self._fewer_since is None or now < self._fewer_since:
            self._fewer_since, self._most_since = now, wanted
        self._most_since = max(self._most_since, wanted)
        if now - self._fewer_since < self._hold:
            return len(self.healthy)
        return self._most_since

    def takes_away(self, supply: Supply, healthy: int) -> bool:
        """Whether to show that would take slots away: then it must be known who has which."""
        return healthy < len(self.healthy) or not self.healthy <= _names(supply, healthy)

    def show(self, supply: Supply, healthy: int, taken: frozenset[str]) -> bool:
        """Show that many, the taken ones among them; whether anything changed."""
        names = _names(supply, healthy) | taken
        keep = taken if healthy < len(self.healthy) else (self.healthy | taken) & names
        free = sorted(names - keep)
        chosen = frozenset(keep) | frozenset(free[: max(0, healthy - len(keep))])
        shown = (tuple(sorted(names)), chosen)
        if shown == (self.all, self.healthy):
            return False
        self.all, self.healthy = shown
        self._fewer_since = None
        return True


def _names(supply: Supply, healthy: int) -> set[str]:
    total = min(_SLOTS_MAX, max(supply.total, healthy))
    return {f"slot-{number:04d}" for number in range(total)}
