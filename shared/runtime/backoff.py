"""Waits between attempts: exponential with full jitter, so that callers spread out."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff_s(rng: random.Random, *, first_s: float, longest_s: float) -> Iterator[float]:
    """An endless row of waits, each drawn from 0 to a bound that doubles up to `longest_s`."""
    bound_s = first_s
    while True:
        yield rng.uniform(0.0, bound_s)
        bound_s = min(longest_s, bound_s * 2)
