"""What ends a fixed lease whose pod went: one choice, changeable while the lease lives."""

from __future__ import annotations

from enum import StrEnum


class LeasePolicy(StrEnum):
    """Each but the first may also have a span: kept so long at most."""

    IMMEDIATE = "immediate"  # it ends with its pod
    NEVER = "never"  # nothing but its span, or a person
    CASCADE = "cascade"  # its workload is gone
    SCALE_DOWN = "scale_down"  # its workload is gone, or has no more room for it

    @property
    def follows_workload(self) -> bool:
        return self in (LeasePolicy.CASCADE, LeasePolicy.SCALE_DOWN)
