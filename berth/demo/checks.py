"""The score: every promise that was looked at, and whether it was kept (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise, in words for people."""

    step: str
    claim: str
    is_kept: bool
    detail: str


@dataclass(slots=True)
class Score:
    """All checks, in the order they were made."""

    checks: list[Check] = field(default_factory=list)

    def add(self, step: str, claim: str, is_kept: bool, detail: str = "") -> Check:
        check = Check(step=step, claim=claim, is_kept=is_kept, detail=detail)
        self.checks.append(check)
        return check

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.is_kept]

    @property
    def is_kept(self) -> bool:
        """Nothing looked at is not a promise kept."""
        return bool(self.checks) and not self.failed
