"""ENIs that hold addresses of fixed leases on no instance, since theirs has ended.

Such an ENI comes to the node of the first of its leases that moves: it was never let go, so
nobody else can have had its addresses. Its other leases go on from there as from any node.
"""

from __future__ import annotations

from services.eni_manager.domain.moves import Move, no_place
from services.eni_manager.domain.records import EniRecord, Purpose
from services.eni_manager.node_worker import NodeWorker
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudLimit
from shared.cloud.words import Eni


class HeldEnis:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def can_bring(self, worker: NodeWorker, move: Move, eni: Eni) -> bool:
        """Whether the ENI is on no instance, and the node has a slot for it."""
        if eni.instance is not None:
            return False
        subnet = await self._tools.subnets.get(move.subnet)
        if subnet.zone != worker.book.node.zone:
            raise no_place(move, worker.book.node.zone, subnet.zone)
        return worker.growing.eni_slots() > 0

    async def bring(self, worker: NodeWorker, move: Move, eni: Eni) -> None:
        """Attach it to the node. The caller holds the node's lock, and has looked whether the
        move is authorised."""
        try:
            ready = await worker.changes.additions.attach(eni.eni, f"held-{move.generation}")
        except CloudLimit as error:
            raise no_place(move, worker.book.node.zone, worker.book.node.zone) from error
        subnet = await self._tools.subnets.get(ready.subnet)
        record = EniRecord(
            eni=ready.eni,
            subnet=ready.subnet,
            cidr=subnet.cidr,
            mac=ready.mac,
            primary_address=ready.primary_address,
            purpose=Purpose.SHARED,
            security_groups=ready.security_groups,
        )
        await worker.book.write(put=[record])
        self._tools.events.eni("attached", ready.eni, move.to_node, ready.subnet)
        await worker.observe()
