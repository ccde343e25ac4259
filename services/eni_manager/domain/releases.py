"""What a node gives back: idle addresses from the emptiest ENI, then that ENI itself (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.ids import EniId


@dataclass(frozen=True, slots=True, kw_only=True)
class EniLoad:
    eni: EniId
    count: int  # secondary addresses on it
    room: int  # that still fit


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePace:
    """At most `count` addresses in each span; a span of 0 gives back all at once."""

    count: int = 1
    every_s: float = 0.0

    @property
    def is_quick(self) -> bool:
        return self.every_s == 0


def drain_order(enis: Sequence[EniLoad]) -> list[EniLoad]:
    """Those that carry anything, the emptiest first, so that it can go."""
    return sorted((it for it in enis if it.count), key=lambda it: (it.count, it.eni))


def surplus(enis: Sequence[EniLoad], *, enis_max: int) -> list[EniLoad]:
    """Those beyond the number that somebody wants, the emptiest first."""
    beyond = max(0, len(enis) - enis_max)
    return sorted(enis, key=lambda it: (it.count, it.eni))[:beyond]


def unneeded(enis: Sequence[EniLoad], *, ready: int, warm_max: int) -> EniId | None:
    """An empty ENI without which the others still have room up to the warm maximum."""
    empty = [each for each in enis if each.count == 0]
    if not empty:
        return None
    chosen = min(empty, key=lambda it: it.eni)
    room = sum(each.room for each in enis if each.eni != chosen.eni)
    return chosen.eni if room >= max(0, warm_max - ready) else None
