"""What was asked and answered during a run, and what was broken meanwhile.

A checker sees nothing but this and the books at the end. What a caller cannot know, it does not
claim: an answer that did not come is INFO, neither success nor failure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

ADD_LIMIT_S = 12.0  # of which the runtime is told all but `ANSWER_SLACK_S`
DEL_LIMIT_S = 10.0
BUG = "bug"  # how the error of an operation begins that nobody expected
ANSWER_SLACK_S = 4.0  # a slow machine's own delay, on top of what was promised


class Outcome(StrEnum):
    OK = "ok"
    FAIL = "fail"  # it was refused, and did not happen
    INFO = "info"  # nobody can say whether it happened


class Verb(StrEnum):
    ADD = "add"
    DEL = "del"
    END = "end"  # of a whole node: its instance is terminated, and its pods with it
    RELEASE = "release"  # of a lease, by an operator


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One question of a workload, from its call to its answer (seconds of one clock)."""

    verb: Verb
    workload: str
    node: str = ""
    pod: str = ""  # namespace/name: the identity, where its address is fixed
    sandbox: str = ""
    is_fixed: bool = False
    expires_after_s: float | None = None
    began_s: float
    ended_s: float
    limit_s: float = ADD_LIMIT_S
    outcome: Outcome
    is_answered: bool = True
    address: str | None = None
    generation: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing broken, and how often it touched something: 0 means that it missed."""

    nemesis: str
    what: str
    began_s: float
    ended_s: float
    touched: int


@dataclass(slots=True)
class FaultUnderWay:
    """Told by the nemesis while it works."""

    what: str = ""
    touched: int = 0

    def touch(self, count: int = 1) -> None:
        self.touched += count


@dataclass(slots=True)
class History:
    operations: list[Operation] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def add(self, operation: Operation) -> None:
        self.operations.append(operation)

    def count(self, outcome: Outcome) -> int:
        return sum(each.outcome is outcome for each in self.operations)

    def since(self, moment_s: float) -> History:
        """What ended, and what was broken, after that moment."""
        return History(
            [each for each in self.operations if each.ended_s >= moment_s],
            [each for each in self.faults if each.ended_s >= moment_s],
        )

    def during(self, fault: Fault) -> int:
        """Operations of which a part lies within the fault."""
        return sum(
            each.began_s <= fault.ended_s and each.ended_s >= fault.began_s
            for each in self.operations
        )

    def bites(self) -> int:
        """Faults that touched something while something was asked."""
        return sum(each.touched > 0 and self.during(each) > 0 for each in self.faults)

    def started(self, *, since_s: float = 0.0) -> list[Operation]:
        """ADDs asked from that moment on that succeeded; of fixed pods, where there are any."""
        adds = [each for each in self.operations if each.verb is Verb.ADD]
        adds = [each for each in adds if each.is_fixed] or adds
        return [each for each in adds if each.outcome is Outcome.OK and each.began_s >= since_s]

    def next_answer_s(self) -> float:
        """The longest time from a fault's beginning to the next ADD that was asked after it and
        succeeded."""
        waits = [
            min(
                (it.ended_s - each.began_s for it in self.started(since_s=each.began_s)),
                default=inf,
            )
            for each in self.faults
        ]
        return max(waits, default=inf)

    @contextmanager
    def breaking(self, nemesis: str) -> Iterator[FaultUnderWay]:
        """Records what is broken while the block runs, whatever becomes of it."""
        under_way, began_s = FaultUnderWay(), time.monotonic()
        try:
            yield under_way
        finally:
            self.faults.append(
                Fault(
                    nemesis=nemesis,
                    what=under_way.what,
                    began_s=began_s,
                    ended_s=time.monotonic(),
                    touched=under_way.touched,
                )
            )
