"""Pods that wait, and pods whose last ADD did not succeed, with the reason."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from shared.annotations import NOMINATED_SUBNETS, NetworkMode
from shared.clock import Clock
from shared.errors import BerthError, ErrorCode, StockEmpty
from shared.ids import PodName, SubnetId

from .domain.ports import FailedAdd

_STOCK_EMPTY: Final = {
    NetworkMode.SHARED: "no idle address on this node yet; more were asked for",
    NetworkMode.EXCLUSIVE: "no idle ENI of its own on this node yet; one was asked for",
}
_FAILURES_MAX: Final = 256
_STILL_WANTED: Final = timedelta(seconds=60)  # kubelet asks again within this


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an address must be for a pod to take it."""

    mode: NetworkMode
    subnets: tuple[SubnetId, ...] = ()  # of one of these; (): of any


class _Waiting:
    """One ADD that may have to wait for an address."""

    def __init__(self, failures: Failures, wish: Wish) -> None:
        self._failures = failures
        self._wish = wish
        self._has_begun = False

    def begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._failures.waiting_now[self._wish] += 1

    def end(self) -> None:
        if self._has_begun:
            self._failures.waiting_now[self._wish] -= 1


class Failures:
    """Bounded: the oldest goes when a new one finds no room."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: OrderedDict[tuple[PodName, str], FailedAdd] = OrderedDict()
        self.waiting_now: Counter[Wish] = Counter()
        self.node_problem: str | None = None  # why more addresses do not come

    def __iter__(self) -> Iterator[FailedAdd]:
        return iter(list(self._failed.values()))

    @contextmanager
    def wait(self, wish: Wish) -> Iterator[_Waiting]:
        waiting = _Waiting(self, wish)
        try:
            yield waiting
        finally:
            waiting.end()

    def note(self, pod: PodName, network: str, error: BerthError, wish: Wish) -> None:
        now = self._clock.now()
        old = self._failed.pop((pod, network), None)
        new = FailedAdd(
            pod=pod,
            network=network,
            mode=wish.mode,
            subnets=wish.subnets,
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

    def waiting(self, wish: Wish) -> int:
        """Pods that found no idle address: now, or a moment ago and about to ask again."""
        return max(self.waiting_now[wish], self._recently()[wish])

    def nominations(self) -> set[tuple[SubnetId, ...]]:
        """The subnets that waiting pods name."""
        wishes = {*(+self.waiting_now), *self._recently()}
        return {each.subnets for each in wishes if each.subnets}

    def no_address(self, wish: Wish) -> StockEmpty:
        """What a pod is told that found none, and why no more come."""
        if not wish.subnets:
            why = f": {self.node_problem}" if self.node_problem else ""
            return StockEmpty(_STOCK_EMPTY[wish.mode] + why)
        why = f": {self.node_problem}" if self.node_problem else "; one was asked for"
        return StockEmpty(
            f"no idle address of {', '.join(wish.subnets)} on this node, and"
            f" {NOMINATED_SUBNETS} allows no other{why}"
        )

    def _recently(self) -> Counter[Wish]:
        since = self._clock.now() - _STILL_WANTED
        return Counter(
            Wish(mode=each.mode, subnets=each.subnets)
            for each in self
            if each.code == ErrorCode.STOCK_EMPTY and each.last > since
        )
