"""Pods that wait, and pods whose last ADD did not succeed, with the reason."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

from shared.annotations import NetworkMode
from shared.clock import Clock
from shared.errors import BerthError, ErrorCode
from shared.ids import PodName

from .domain.ports import FailedAdd

_FAILURES_MAX: Final = 256
_STILL_WANTED: Final = timedelta(seconds=60)  # kubelet asks again within this


class _Waiting:
    """One ADD that may have to wait for an address."""

    def __init__(self, failures: Failures, mode: NetworkMode) -> None:
        self._failures = failures
        self._mode = mode
        self._has_begun = False

    def begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._failures.waiting_now[self._mode] += 1

    def end(self) -> None:
        if self._has_begun:
            self._failures.waiting_now[self._mode] -= 1


class Failures:
    """Bounded: the oldest goes when a new one finds no room."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: OrderedDict[tuple[PodName, str], FailedAdd] = OrderedDict()
        self.waiting_now: Counter[NetworkMode] = Counter()

    def __iter__(self) -> Iterator[FailedAdd]:
        return iter(list(self._failed.values()))

    @contextmanager
    def wait(self, mode: NetworkMode) -> Iterator[_Waiting]:
        waiting = _Waiting(self, mode)
        try:
            yield waiting
        finally:
            waiting.end()

    def note(self, pod: PodName, network: str, error: BerthError, mode: NetworkMode) -> None:
        now = self._clock.now()
        old = self._failed.pop((pod, network), None)
        new = FailedAdd(
            pod=pod,
            network=network,
            mode=mode,
            code=error.code.value,
            detail=str(error),
            since=now,
            last=now,
            attempts=1,
        )
        if old is not None:
            new = replace(new, since=old.since, attempts=old.attempts + 1)
        self._failed[pod, network] = new
        while len(self._failed) > _FAILURES_MAX:
            self._failed.popitem(last=False)

    def forget(self, pod: PodName, network: str) -> None:
        self._failed.pop((pod, network), None)

    def waiting(self, mode: NetworkMode) -> int:
        """Pods that found no idle address: now, or a moment ago and about to ask again."""
        since = self._clock.now() - _STILL_WANTED
        recently = sum(
            each.code == ErrorCode.STOCK_EMPTY and each.mode is mode and each.last > since
            for each in self
        )
        return max(self.waiting_now[mode], recently)
