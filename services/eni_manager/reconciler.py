"""Which nodes this replica looks after: shards claimed by terms, a worker per node.

A term is renewed three times in its span. Lost, or not renewed in time, its workers stop at
once; every effect asks the term first, so nothing is begun after its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from services.eni_manager.domain.ports import EniStore, Term, TermEnded
from services.eni_manager.domain.records import Hold, NodeImage, NodeRecord
from services.eni_manager.node_book import NodeBook, TermHolder
from services.eni_manager.node_worker import NodeWorker
from services.eni_manager.tools import Tools
from shared.errors import Busy, Unavailable
from shared.ids import NodeName
from shared.runtime.loops import Loops
from shared.telemetry.metrics import ENI_MANAGER_ADDRESSES, STRANGERS

log = logging.getLogger(__name__)

_RENEWALS_PER_TERM = 3
_CLAIM_AGAIN_S = 0.5  # after a claim that the store did not answer


@dataclass(slots=True, kw_only=True)
class _Shard:
    holder: TermHolder
    loops: Loops
    workers: dict[NodeName, NodeWorker] = field(default_factory=dict)
    rounds: dict[NodeName, asyncio.Task[None]] = field(default_factory=dict)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gained:
    """Nodes that another owner had, with the intents that were written down."""

    moment_ms: int  # by the store's clock: what was begun before is not ours
    written: Mapping[NodeName, Collection[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """Settings of the rounds, with their units in their names."""

    shards: int
    term_ttl_s: float
    round_interval_s: float
    observe_interval_s: float


class Reconciler:
    def __init__(
        self,
        store: EniStore,
        tools: Tools,
        pacing: Pacing,
        shard_of: Callable[[NodeName, int], int],
    ) -> None:
        self._store = store
        self._tools = tools
        self._pacing = pacing
        self._shard_of = shard_of
        self._shards: dict[int, _Shard] = {}
        self._gained: list[_Gained] = []  # whose former owners may have left something

    async def keep(self, number: int) -> None:
        """Claim a shard and renew it; each by itself, under the service's supervisor: one
        whose nodes take long to be read delays no other's renewal."""
        while True:
            wait_s = self.renew_every_s
            try:
                await self._claim(number)
            except Unavailable as error:
                # Not left to the supervisor: its waits grow longer than a term.
                log.warning("shard not claimed", extra={"shard": number, "error": str(error)})
                wait_s = min(wait_s, _CLAIM_AGAIN_S)
            await asyncio.sleep(wait_s)

    async def tidy(self) -> None:
        """What is due as often as a renewal."""
        self._let_go()
        self._measure()
        if self._gained:
            await self._drop_lost()

    @property
    def renew_every_s(self) -> float:
        return self._pacing.term_ttl_s / _RENEWALS_PER_TERM

    async def stop(self) -> None:
        """Stop the workers, then give the shards up: another replica takes over at once."""
        for number, shard in list(self._shards.items()):
            del self._shards[number]
            await shard.loops.stop()
            try:
                await self._store.give_up(shard.holder.term)
            except Unavailable as error:
                log.info("term not given up", extra={"shard": number, "error": str(error)})

    def workers(self) -> list[NodeWorker]:
        return [worker for shard in self._shards.values() for worker in shard.workers.values()]

    def terms(self) -> list[tuple[Term, Mapping[NodeName, NodeWorker]]]:
        """The terms that hold, each with the workers of its shard's nodes."""
        return [
            (shard.holder.term, shard.workers)
            for shard in self._shards.values()
            if not self._has_ended(shard)
        ]

    def worker(self, node: NodeName) -> NodeWorker | None:
        """Raises Busy when another replica looks after the node: the caller asks again."""
        found = self._shard(node).workers.get(node)
        return None if found is None or found.has_left else found

    async def open(self, record: NodeRecord) -> NodeWorker:
        """The worker of a node, made when it is first heard of."""
        shard = self._shard(record.node)
        async with shard.opening:
            found = shard.workers.get(record.node)
            if found is None or found.has_left:
                if found is not None:
                    shard.rounds.pop(record.node).cancel()
                await self._store.write(shard.holder.check(), record.node, put=[record])
                found = self._start(shard, NodeImage(node=record))
        return found

    def left(self, address: IPv4Address, *, to_node: NodeName) -> None:
        """A move took the address from another node: that node's book is behind the cloud."""
        for worker in self.workers():
            if worker.book.node.node != to_node and address in worker.book.image.addresses:
                worker.observe_soon()

    def _shard(self, node: NodeName) -> _Shard:
        shard = self._shards.get(self._shard_of(node, self._pacing.shards))
        if shard is None:
            raise Busy(f"another replica looks after node {node}")
        return shard

    def leading_right(self) -> Callable[[], None] | None:
        """Of what one replica does for all: the one that holds the first shard."""
        shard = self._shards.get(0)
        if shard is None:
            return None
        holder = shard.holder

        def check() -> None:
            holder.check()

        return check

    def _let_go(self) -> None:
        """Nodes that have left."""
        for shard in self._shards.values():
            for node in [name for name, it in shard.workers.items() if it.has_left]:
                del shard.workers[node]
                shard.rounds.pop(node).cancel()

    def _measure(self) -> None:
        images = [worker.book.image for worker in self.workers()]
        STRANGERS.set(sum(len(image.node.strangers) for image in images))
        for hold in Hold:
            count = sum(len(image.held(hold)) for image in images)
            ENI_MANAGER_ADDRESSES.labels(hold).set(count)

    async def _claim(self, number: int) -> None:
        held = self._shards.get(number)
        try:
            term = await self._store.claim(number, ttl_s=self._pacing.term_ttl_s)
        except Unavailable:
            if held is not None and self._has_ended(held):
                await self._lose(number)
            raise
        if held is not None and (term is None or term.number != held.holder.term.number):
            await self._lose(number)
            held = None
        if term is None:
            return
        if held is not None:
            held.holder.term = term
        else:
            await self._gain(term)

    async def _drop_lost(self) -> None:
        """What former owners counted and never began. The cloud is asked first what is free:
        a call that was made by then, and is written down no more, is in its number."""
        gained, subnets = list(self._gained), self._tools.subnets
        await subnets.refresh()
        names = [each.subnet for each in subnets.container()]
        for each in gained:
            await self._tools.headroom.drop_lost(names, each.written, before_ms=each.moment_ms)
            self._gained.remove(each)

    async def _gain(self, term: Term) -> None:
        moment_ms = await self._tools.headroom.moment_ms()
        written: dict[NodeName, frozenset[str]] = {}
        shard = _Shard(holder=TermHolder(term, self._tools.clock), loops=Loops(self._tools.rng))
        for node in await self._store.load_nodes():
            if self._shard_of(node.node, self._pacing.shards) == term.shard:
                image = await self._store.load(node)
                written[node.node] = frozenset(image.intents)
                self._start(shard, image)
        self._shards[term.shard] = shard
        if written:
            self._gained.append(_Gained(moment_ms=moment_ms, written=written))
        log.info("shard gained", extra={"shard": term.shard, "term": term.number})

    async def _lose(self, number: int) -> None:
        shard = self._shards.pop(number)
        await shard.loops.stop()
        log.warning("shard lost", extra={"shard": number, "term": shard.holder.term.number})

    def _has_ended(self, shard: _Shard) -> bool:
        try:
            shard.holder.check()
        except TermEnded:
            return True
        return False

    def _start(self, shard: _Shard, image: NodeImage) -> NodeWorker:
        worker = NodeWorker(
            NodeBook(image, self._store, shard.holder),
            self._tools,
            observe_every_s=self._pacing.observe_interval_s,
        )
        shard.workers[image.node.node] = worker
        shard.rounds[image.node.node] = shard.loops.every(
            f"node {image.node.node}",
            worker.round,
            interval_s=self._pacing.round_interval_s,
            wake=worker.wake,
        )
        return worker
