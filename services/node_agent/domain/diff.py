"""Wanted against observed: what is missing, and what of ours has no reason to be (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from .wiring import LinkAddress, Route, Rule

Thing = TypeVar("Thing", Route, Rule, LinkAddress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes(Generic[Thing]):
    """What makes observed equal to wanted; a missing route takes the place of another."""

    missing: tuple[Thing, ...]
    unwanted: tuple[Thing, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unwanted)


def compare(wanted: frozenset[Thing], observed: frozenset[Thing]) -> Changes[Thing]:
    """Observed must hold only what carries our mark: the rest is nobody's business here."""
    return Changes(
        missing=tuple(sorted(wanted - observed, key=repr)),
        unwanted=tuple(sorted(observed - wanted, key=repr)),
    )
