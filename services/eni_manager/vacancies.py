"""Tells what nodes have and could still take, and reads it again for whoever places pods.

Each replica tells of its own nodes as their books change; any replica reads for all. It is a
view: nothing here decides what a node gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

from services.eni_manager.domain.ports import Term, TermEnded, VacancyBook, VacancyPage
from services.eni_manager.domain.vacancies import Vacancy, vacancy_of
from services.eni_manager.node_book import NodeBook
from services.eni_manager.node_worker import NodeWorker
from services.eni_manager.reconciler import Reconciler
from services.eni_manager.tools import Tools
from shared.clusters import SubnetState
from shared.ids import NodeName, SubnetId, Zone

_TOLD_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSubnet:
    """A container subnet, with what it has free."""

    subnet: SubnetId
    zone: Zone
    cidr: IPv4Network
    free: int
    total: int
    state: SubnetState


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """Of a worker when it was told of: unchanged, so is what it tells."""

    book: NodeBook
    writes: int
    eni_slots: int
    pods_max: int | None


class VacancyTeller:
    """One round tells what has changed since the last."""

    def __init__(
        self,
        reconciler: Reconciler,
        book: VacancyBook,
        tools: Tools,
        shard_of: Callable[[NodeName], int],
    ) -> None:
        self._reconciler = reconciler
        self._book = book
        self._tools = tools
        self._shard_of = shard_of
        self._terms: dict[int, int] = {}  # of a shard: in which all of it was told
        self._told: dict[int, dict[NodeName, _State]] = {}

    async def round(self) -> None:
        for term, workers in self._reconciler.terms():
            try:
                await self._tell(term, workers)
            except TermEnded:
                self._terms.pop(term.shard, None)

    async def _tell(self, term: Term, workers: Mapping[NodeName, NodeWorker]) -> None:
        if self._terms.get(term.shard) != term.number:
            # Another replica told before: its nodes may have left meanwhile.
            known = await self._book.names()
            here = [each for each in known if self._shard_of(each) == term.shard]
            await self._take_back(term, [each for each in here if each not in workers])
            self._told[term.shard] = {}
            self._terms[term.shard] = term.number
        told = self._told[term.shard]
        await self._take_back(term, [each for each in told if each not in workers])
        for each in [name for name in told if name not in workers]:
            del told[each]
        changed = {
            name: state
            for name, worker in workers.items()
            if not worker.has_left and told.get(name) != (state := self._state(worker))
        }
        names = list(changed)
        for start in range(0, len(names), _TOLD_AT_ONCE):
            at_once = names[start : start + _TOLD_AT_ONCE]
            await self._book.tell(term, self._vacancies(workers, at_once), ())
            told.update({name: changed[name] for name in at_once})

    async def _take_back(self, term: Term, left: list[NodeName]) -> None:
        if left:
            await self._book.tell(term, (), left)

    def _state(self, worker: NodeWorker) -> _State:
        return _State(
            book=worker.book,
            writes=worker.book.writes,
            eni_slots=worker.growing.eni_slots(),
            pods_max=self._tools.record.pods_max,
        )

    def _vacancies(
        self, workers: Mapping[NodeName, NodeWorker], names: Iterable[NodeName]
    ) -> list[Vacancy]:
        return [
            vacancy_of(
                workers[name].book.image,
                eni_slots=workers[name].growing.eni_slots(),
                pods_max=self._tools.record.pods_max,
            )
            for name in names
            if name in workers
        ]


class VacancyViews:
    def __init__(self, book: VacancyBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools

    async def page(self, *, after: int, since: int, limit: int) -> tuple[VacancyPage, bool]:
        """What has changed; whether it is the first page of all nodes instead."""
        page = await self._book.page(after, limit)
        # A revision that there never was is one of a store that was lost.
        is_behind = since < page.floor or max(after, since) > page.newest
        if is_behind and after:
            page = await self._book.page(0, limit)
        return page, is_behind or not after

    def subnets(self) -> list[OpenSubnet]:
        states = {each.subnet: each.state for each in self._tools.record.container()}
        return [
            OpenSubnet(
                subnet=each.subnet,
                zone=each.zone,
                cidr=each.cidr,
                free=each.free,
                total=each.total,
                state=states[each.subnet],
            )
            for each in self._tools.subnets.container()
        ]
