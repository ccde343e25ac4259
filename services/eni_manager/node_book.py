"""The records of one node in memory, written to the store first: what its owner works on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from services.eni_manager.domain.ports import EniStore, Order, Term, TermEnded
from services.eni_manager.domain.records import (
    AddressRecord,
    EniRecord,
    Intent,
    IntentKind,
    NodeImage,
    NodeRecord,
    Purpose,
    Record,
)
from shared.clock import Clock
from shared.ids import EniId, SubnetId


class TermHolder:
    """The current term of a shard; renewed by the reconciler, asked before every effect."""

    def __init__(self, term: Term, clock: Clock) -> None:
        self.term = term
        self._clock = clock

    def check(self) -> Term:
        """Raises TermEnded once the term has ended by this machine's own clock."""
        if self._clock.monotonic_s() >= self.term.ends_at_s:
            raise TermEnded(f"term {self.term.number} of shard {self.term.shard} has ended")
        return self.term


class NodeBook:
    """Store before memory: what is in memory was accepted under the term."""

    def __init__(self, image: NodeImage, store: EniStore, holder: TermHolder) -> None:
        self.image = image
        self.writes = 0  # so far: who sees the same number again sees the same image
        self._store = store
        self._holder = holder
        self._sequence = itertools.count(1)
        self._changing_node = asyncio.Lock()

    @property
    def node(self) -> NodeRecord:
        return self.image.node

    def check_term(self) -> None:
        self._holder.check()

    def begin(
        self,
        intent: str,
        kind: IntentKind,
        *,
        eni: EniId | None = None,
        subnet: SubnetId | None = None,
        count: int = 0,
        addresses: Sequence[IPv4Address] = (),
        security_groups: tuple[str, ...] = (),
        source: EniId | None = None,
        purpose: Purpose = Purpose.SHARED,
    ) -> Intent:
        """An intent of the current term, still to be written."""
        return Intent(
            intent=intent,
            kind=kind,
            eni=eni,
            subnet=subnet,
            count=count,
            addresses=tuple(addresses),
            security_groups=security_groups,
            source=source,
            purpose=purpose,
            term=self._holder.check().number,
        )

    def call_of(self, intent: str) -> str:
        """The intent's call, as it is counted among those of all nodes."""
        return f"{self.node.node}/{intent}"

    def is_of_earlier_term(self, intent: Intent) -> bool:
        """Its owner may have left a call in flight."""
        return intent.term != self._holder.check().number

    def next_order(self) -> Order:
        return Order(term=self._holder.check().number, sequence=next(self._sequence))

    async def write(self, *, put: Sequence[Record] = (), drop: Sequence[Record] = ()) -> None:
        if not put and not drop:
            return
        await self._store.write(self._holder.check(), self.node.node, put=put, drop=drop)
        self.writes += 1
        for record in put:
            self._put(record)
        for record in drop:
            self._drop(record)

    async def close(self) -> None:
        """All records of the node go from the store: it has left. Memory is left as it is."""
        image = self.image
        await self._store.remember_left(image.node)
        await self._store.write(
            self._holder.check(),
            self.node.node,
            drop=[
                *image.intents.values(),
                *image.addresses.values(),
                *image.enis.values(),
                image.node,
            ],
        )

    async def change_node(
        self,
        change: Callable[[NodeRecord], NodeRecord],
        *,
        put: Sequence[Record] = (),
        drop: Sequence[Record] = (),
    ) -> None:
        """One change of the node's own record at a time, so that none is lost; with it, in
        one write, what belongs to it."""
        async with self._changing_node:
            changed = change(self.node)
            own = [changed] if changed != self.node else []
            await self.write(put=[*own, *put], drop=drop)

    def _put(self, record: Record) -> None:
        match record:
            case NodeRecord():
                self.image.node = record
            case EniRecord():
                self.image.enis[record.eni] = record
            case AddressRecord():
                self.image.addresses[record.address] = record
            case Intent():
                self.image.intents[record.intent] = record

    def _drop(self, record: Record) -> None:
        match record:
            case EniRecord():
                self.image.enis.pop(record.eni, None)
            case AddressRecord():
                self.image.addresses.pop(record.address, None)
            case Intent():
                self.image.intents.pop(record.intent, None)
            case NodeRecord():
                raise AssertionError("a node's record is never dropped while it is worked on")
