"""How the cloud behaves today: how long things take, how often one may ask, what fails."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.failures import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A span that is fixed (`sigma` 0) or log-normal around its median."""

    median_s: float
    sigma: float = 0.0

    def draw(self, rng: random.Random) -> float:
        if self.median_s == 0 or self.sigma == 0:
            return self.median_s
        return rng.lognormvariate(math.log(self.median_s), self.sigma)


class Latencies:
    """One latency per action, and one for the actions that have none of their own."""

    def __init__(
        self, default: Latency, of: Mapping[str, Latency], *, rng: random.Random
    ) -> None:
        self._default = default
        self._of = dict(of)
        self._rng = rng

    def set(self, default: Latency | None, of: Mapping[str, Latency]) -> None:
        self._default = default or self._default
        self._of.update(of)

    def draw(self, action: str) -> float:
        return self._of.get(action, self._default).draw(self._rng)


class Rates:
    """A token bucket per account and action, one second deep."""

    def __init__(self, per_s: Mapping[str, float]) -> None:
        self._per_s = dict(per_s)
        self._of_account: dict[tuple[str, str], float] = {}
        self._codes: dict[str, Code] = {}
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}

    def code(self, action: str) -> Code:
        """What a call over the rate is told: by the gateway, or by the module behind it."""
        return self._codes.get(action, Code.REQUEST_LIMIT_EXCEEDED)

    def set(
        self,
        per_s: Mapping[str, float],
        *,
        account: str | None,
        code: Code = Code.REQUEST_LIMIT_EXCEEDED,
    ) -> None:
        """From now on, for one account or for all; an account's own beats that for all."""
        for action, rate in per_s.items():
            self._codes[action] = code
            if account is None:
                self._per_s[action] = rate
            else:
                self._of_account[account, action] = rate

    def allows(self, account: str, action: str, *, now_s: float) -> bool:
        rate = self._of_account.get((account, action), self._per_s[action])
        depth = max(rate, 1.0)
        level, since_s = self._buckets.get((account, action), (depth, now_s))
        level = min(depth, level + (now_s - since_s) * rate)
        allowed = level >= 1.0
        self._buckets[account, action] = (level - allowed, now_s)
        return allowed


class FaultKind(StrEnum):
    THROTTLE = "throttle"  # refused before anything else
    REFUSE = "refuse"  # with any code that the API documents, nothing happened
    INTERNAL_ERROR = "internal_error"  # refused, nothing happened
    TIMEOUT_BEFORE = "timeout_before"  # no answer, nothing happened
    TIMEOUT_AFTER = "timeout_after"  # no answer, but it happened
    DELAY = "delay"  # held on its way in, then served
    STUCK = "stuck"  # accepted, then the task does not move for the hold time
    TASK_FAILED = "task_failed"  # accepted, then the task fails
    STALE = "stale"  # a look is told how things were when the fault was asked for
    PREMATURE = "premature"  # a look is told that what is under way is done
    GAPS = "gaps"  # a look is told of some ENIs and addresses only


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    kind: FaultKind
    hold_s: float  # how long an answer or a task is withheld, for the kinds that do
    code: Code  # what a refused call is told
    earlier: Cloud | None = None  # what a stale look is told


class Faults:
    """Faults waiting for the next calls of an action, each used once."""

    def __init__(self, *, waiting_max: int) -> None:
        self._waiting: dict[str, list[Fault]] = {}
        self._waiting_max = waiting_max

    def add(self, action: str, fault: Fault, *, count: int) -> int:
        """How many now wait for this action; more than fit are not taken."""
        waiting = self._waiting.setdefault(action, [])
        waiting.extend([fault] * min(count, self._waiting_max - len(waiting)))
        return len(waiting)

    def take(self, action: str) -> Fault | None:
        waiting = self._waiting.get(action)
        return waiting.pop(0) if waiting else None

    def clear(self) -> None:
        self._waiting.clear()
