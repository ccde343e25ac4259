"""Reading the books, twice, and asking their owners to mend what differs both times."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from berth.commands.lease import fetch_leases
from berth.commands.node import fetch_nodes
from berth.commands.options import deadline_of
from berth.doctor.findings import Books, Finding, compare, lost_on, unused_on
from berth.inventories import fetch_inventories
from shared.bus.client import BusClient
from shared.errors import BerthError, Busy
from shared.ids import NodeName
from shared.messages.clusters import NODE_LOOK, NodeLookRequest
from shared.messages.nodes import AGENT_MEND, MendRequest

LEASES_MAX: Final = 1_000_000
_LOOK_TRIES_MAX: Final = 16  # another replica may answer first, and sends us on
_LOOK_PAUSE_S: Final = 0.1


async def read_books(bus: BusClient) -> Books:
    """Raises BerthError when the eni_manager or the allocator does not answer."""
    nodes = await fetch_nodes(bus)
    leases = await fetch_leases(bus, leases_max=LEASES_MAX)
    inventories, silent = await fetch_inventories(
        bus, [NodeName(each.node) for each in nodes], with_kernel=True
    )
    return Books(
        nodes=nodes,
        inventories=inventories,
        leases=leases,
        unread={f"the agent of node {node}": why for node, why in silent.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What differs at two looks: what changed hands in between was no fault."""

    findings: list[Finding]
    unread: dict[str, str]  # book, and why it could not be read
    books: Books  # as they were at the last look


async def examine(bus: BusClient, *, settle_s: float) -> Examined:
    """Raises BerthError when the eni_manager or the allocator does not answer."""
    books = await read_books(bus)
    first = compare(books)
    if not first:
        return Examined(findings=[], unread=books.unread, books=books)
    await asyncio.sleep(settle_s)
    again = await read_books(bus)
    seen = {each.key for each in first}
    return Examined(
        findings=[each for each in compare(again) if each.key in seen],
        unread=books.unread | again.unread,
        books=again,
    )


async def mend(bus: BusClient, examined: Examined) -> dict[str, str]:
    """Ask each node's agent and the owner of its shard; what each said."""
    said: dict[str, str] = {}
    for node in sorted({each.node for each in examined.findings if each.node}):
        try:
            await _look(bus, node)
            request = MendRequest(
                node=node,
                deadline=deadline_of(AGENT_MEND),
                lost=lost_on(node, examined.books, examined.findings),
                unused=unused_on(node, examined.books, examined.findings),
            )
            mended = await bus.call(AGENT_MEND, request, NodeName(node))
            said[node] = (
                f"compared again; {mended.repaired} things in its kernel put right,"
                f" {mended.struck} idle addresses struck off, {mended.released} leases released"
            )
        except BerthError as error:
            said[node] = f"not mended: {error}"
    return said


async def _look(bus: BusClient, node: str) -> None:
    for _ in range(_LOOK_TRIES_MAX):
        with suppress(Busy):
            await bus.call(
                NODE_LOOK, NodeLookRequest(node=node, deadline=deadline_of(NODE_LOOK))
            )
            return
        await asyncio.sleep(_LOOK_PAUSE_S)
    raise Busy(f"no replica of the eni_manager looks after node {node}")
