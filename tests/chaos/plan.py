"""Which nemesis meets which workload (pure): each of both comes up, spread as evenly as it can.

A seed repeats the plan; another one pairs them otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

_ROUNDS = 2  # workloads that each nemesis meets


def plan(
    workloads: Sequence[str], nemeses: Sequence[str], *, seed: int
) -> dict[str, list[str]]:
    """By workload: its nemeses, in order."""
    rng = random.Random(f"plan/{seed}")
    found: dict[str, list[str]] = {workload: [] for workload in workloads}
    for _ in range(min(_ROUNDS, len(workloads))):
        order = list(nemeses)
        rng.shuffle(order)
        for nemesis in order:
            free = [each for each in workloads if nemesis not in found[each]]
            fewest = min(len(found[each]) for each in free)
            chosen = rng.choice([each for each in free if len(found[each]) == fewest])
            found[chosen].append(nemesis)
    return found
