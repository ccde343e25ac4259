"""Every figure, by the runs that measure several of them together."""

from __future__ import annotations

from typing import Final

from tests.bench import (
    acquire,
    agent_memory,
    cni,
    extender,
    latency,
    lose_a_third,
    recovery,
    storm,
)
from tests.bench.figures import Family, Figure

FAMILIES: Final[tuple[Family, ...]] = (
    *cni.FAMILIES,
    *agent_memory.FAMILIES,
    *acquire.FAMILIES,
    *latency.FAMILIES,
    *recovery.FAMILIES,
    *storm.FAMILIES,
    *lose_a_third.FAMILIES,
    *extender.FAMILIES,
)
FIGURES: Final[tuple[Figure, ...]] = tuple(
    figure for family in FAMILIES for figure in family.figures
)
