"""The store and the journal of a simulated world, and each process' uncertain way to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, cast

from services.allocator.adapters.memory_books import Books
from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import (
    NO_GENERATION,
    EpochStore,
    Journal,
    JournalEpoch,
    LeaseStore,
)
from shared.errors import EpochLost, Unavailable
from shared.ids import Generation, Identity, epoch_of

from .network import Network
from .virtual import Process

_GIVES_UP_S: Final = 2.0


class StoreServer:
    """The one server, with what it keeps."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.books = Books()
        self.life = 1
        self.now = now

    def restart(self) -> None:
        self.life += 1

    def empty(self) -> None:
        self.books = Books()

    def go_back_to(self, older: Books) -> None:
        self.books = deepcopy(older)
        self.life += 1


class _View(MemoryLeases):
    """One process' connection to it: the epoch that it uses is its own."""

    def __init__(self, server: StoreServer) -> None:
        self._host = server
        self._now = server.now
        self._number = None

    @property
    def _books(self) -> Books:
        return self._host.books

    @_books.setter
    def _books(self, books: Books) -> None:
        self._host.books = books

    @property
    def _server(self) -> int:  # type: ignore[override] # the server's
        return self._host.life


class Line:
    """A process' way to a server: late, and an answer may be lost after the effect."""

    def __init__(self, process: Process, network: Network, rng: random.Random) -> None:
        self._process = process
        self._network = network
        self._rng = rng

    async def do(self, work: Callable[[], Awaitable[Any]]) -> Any:
        self._process.check()
        if self._network.is_lost(self._process):
            await asyncio.sleep(_GIVES_UP_S)
            raise Unavailable("the server did not answer")
        await asyncio.sleep(self._network.lag_s())
        self._process.check()
        answer = await work()
        is_lost = self._network.is_lost(self._process)
        await asyncio.sleep(_GIVES_UP_S if is_lost else self._network.lag_s())
        self._process.check()
        if is_lost:
            raise Unavailable("the server's answer was lost")
        return answer


class _FarStore:
    """LeaseStore and EpochStore over a line."""

    def __init__(self, view: _View, line: Line) -> None:
        self._view = view
        self._line = line

    def use_epoch(self, number: int | None) -> None:
        self._view.use_epoch(number)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        step = getattr(self._view, name)

        async def far(*arguments: Any, **named: Any) -> Any:
            return await self._line.do(lambda: step(*arguments, **named))

        return far


def store_of(server: StoreServer, line: Line) -> tuple[LeaseStore, EpochStore]:
    far = _FarStore(_View(server), line)
    return cast("LeaseStore", far), cast("EpochStore", far)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is journaled last of an identity; a tombstone ends it."""

    lease: Lease
    is_tombstone: bool

    @property
    def rank(self) -> tuple[Generation, bool]:
        return self.lease.generation, self.is_tombstone


@dataclass(slots=True)
class JournalServer:
    """The stream: the last entry of each identity, and the epoch record."""

    entries: dict[Identity, Entry] = field(default_factory=dict)
    epoch: JournalEpoch | None = None
    revision: int = 0

    def keep(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            last = self.entries.get(entry.lease.identity)
            if last is None or last.rank < entry.rank:
                self.entries[entry.lease.identity] = entry


class FarJournal:
    """Implements Journal: stored only in the writer's own epoch, all of a write or nothing."""

    def __init__(self, server: JournalServer, line: Line) -> None:
        self._server = server
        self._line = line
        self._epoch: JournalEpoch | None = None

    def use_epoch(self, epoch: JournalEpoch | None) -> None:
        self._epoch = epoch

    async def ensure_stream(self) -> None:
        await self._line.do(_nothing)

    async def write(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if self._epoch is not None and epoch_of(lease.generation) != self._epoch.number:
                raise EpochLost("the step is of another epoch")
        await self.settle(leases)

    async def settle(self, leases: Sequence[Lease]) -> None:
        await self._enter([Entry(lease, is_tombstone=False) for lease in leases])

    async def bury(self, lease: Lease) -> None:
        await self._enter([Entry(lease, is_tombstone=True)])

    async def _enter(self, entries: Sequence[Entry]) -> None:
        if self._epoch is None:
            raise EpochLost("no epoch is open yet")
        revision = self._epoch.revision

        async def store() -> None:
            record, server = self._server.epoch, self._server
            if record is None or record.revision != revision:
                if not all(_is_there(server, entry) for entry in entries):
                    raise EpochLost("the journal's epoch is not the writer's")
                return
            server.keep(entries)

        await self._line.do(store)

    async def fold_left_behind(self) -> None:
        """Nothing is ever on its way: an entry is in its place when it is written."""

    async def epoch(self) -> JournalEpoch | None:
        async def read() -> JournalEpoch | None:
            return self._server.epoch

        return cast("JournalEpoch | None", await self._line.do(read))

    async def put_epoch(
        self,
        number: int,
        *,
        is_open: bool,
        at: datetime,
        after: JournalEpoch | None,
        is_rewrite: bool = False,
        highest: Generation | None = None,
    ) -> JournalEpoch | None:
        async def put() -> JournalEpoch | None:
            server = self._server
            if (server.epoch and server.epoch.revision) != (after and after.revision):
                return None
            server.revision += 1
            counted = NO_GENERATION if after is None else after.highest
            server.epoch = JournalEpoch(
                number=number,
                is_open=is_open,
                opened_at=at,
                revision=server.revision,
                is_rewrite=is_rewrite,
                highest=counted if highest is None else highest,
            )
            return replace(server.epoch)

        return cast("JournalEpoch | None", await self._line.do(put))

    async def highest(self) -> Generation:
        async def read() -> Generation:
            ranks = [entry.rank[0] for entry in self._server.entries.values()]
            return max(ranks, default=NO_GENERATION)

        return cast("Generation", await self._line.do(read))

    async def leases(self) -> AsyncIterator[Lease]:
        async def read() -> list[Lease]:
            kept = self._server.entries.values()
            return [entry.lease for entry in kept if not entry.is_tombstone]

        for lease in cast("list[Lease]", await self._line.do(read)):
            yield lease


def _is_there(server: JournalServer, entry: Entry) -> bool:
    last = server.entries.get(entry.lease.identity)
    return last is not None and last.rank >= entry.rank


async def _nothing() -> None:
    return None


def journal_of(server: JournalServer, line: Line) -> Journal:
    return FarJournal(server, line)
