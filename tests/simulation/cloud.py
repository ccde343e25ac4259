"""The eni_manager's side of a simulated world: which ENI has each address, and who owns it.

It stands for eni_manager and cloud together, and never fails by itself: it offers stock, moves
an address for the lease that moves, and takes expired ones back. Like the real one it looks at
the lease, and refuses what is not asked in the generation that it finds there.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from services.allocator.domain.leases import Lease
from shared.addresses import AddressState
from shared.bus.client import BusClient
from shared.bus.server import RequestServer
from shared.clock import Clock
from shared.errors import BerthError, Stale
from shared.ids import Identity, NodeName
from shared.messages.base import EniFields, ServiceName
from shared.messages.clusters import (
    NODE_INSTANCE,
    InstanceCondition,
    NodeInstance,
    NodeInstanceRequest,
)
from shared.messages.moves import (
    ADDRESS_MOVE,
    ADDRESS_RECLAIM,
    Moved,
    MoveRequest,
    Reclaimed,
    ReclaimRequest,
)
from shared.messages.nodes import (
    NODE_WANT,
    STOCK_OFFER,
    OfferedAddress,
    StockOffer,
    Wanted,
    WantRequest,
)

from .books import StoreServer

SUBNET: Final = IPv4Network("10.0.0.0/24")
_WARM: Final = 2
_MOVE_S: Final = (0.05, 1.5)
_FIRST: Final = 20


class Cloud:
    """Every address, where it is and whose."""

    def __init__(
        self,
        nodes: Sequence[NodeName],
        addresses: int,
        store: StoreServer,
        client: BusClient,
        clock: Clock,
        rng: random.Random,
        moved: Callable[[IPv4Address, NodeName], None],
    ) -> None:
        self._moved = moved
        self.at: dict[IPv4Address, NodeName] = {}
        self.free = [SUBNET[_FIRST + number] for number in range(addresses)]
        self.in_doubt: dict[IPv4Address, NodeName] = {}  # offered, no answer was heard
        self.taken_back: set[IPv4Address] = set()  # of expired leases that are not forgotten
        self.moves = 0
        self._nodes = list(nodes)
        self._store = store
        self._client = client
        self._clock = clock
        self._rng = rng
        self._sequence = 0
        self._offering: set[NodeName] = set()

    async def serve(self, server: RequestServer) -> None:
        await server.serve_all(
            ServiceName.ENI_MANAGER,
            "simulated",
            {
                NODE_WANT: self.want,
                ADDRESS_MOVE: self.move,
                ADDRESS_RECLAIM: self.reclaim,
                NODE_INSTANCE: self.instance,
            },
        )

    def eni_of(self, node: NodeName) -> EniFields:
        number = self._nodes.index(node) + 1
        return EniFields(
            eni=f"eni-{node}",
            subnet="subnet-a",
            mac=f"02:00:00:00:00:{number:02x}",
            primary_address=SUBNET[number + 1],
            subnet_cidr=SUBNET,
            gateway=SUBNET[1],
        )

    async def want(self, request: WantRequest) -> Wanted:
        """Offers follow: what is in doubt again, and more while the node has too few."""
        node = NodeName(request.node)
        if not self._settle():
            return Wanted(problem="leases are being rebuilt")
        idle = request.counts.idle + sum(1 for each in self.in_doubt.values() if each == node)
        while idle < _WARM + request.counts.waiting and self.free:
            address = self.free.pop(0)
            self.at[address] = node
            self.in_doubt[address] = node
            idle += 1
        is_known = f"eni-{node}" in request.enis
        doubted = [address for address, told in self.in_doubt.items() if told == node]
        if node not in self._offering and (doubted or not is_known):
            self._offering.add(node)
            try:
                await self._offer(node, doubted)
            finally:
                self._offering.discard(node)
        return Wanted()

    async def _offer(self, node: NodeName, addresses: list[IPv4Address]) -> None:
        self._sequence += 1
        eni = self.eni_of(node)
        try:
            answer = await self._client.call(
                STOCK_OFFER,
                StockOffer(
                    deadline=self._clock.now() + timedelta(seconds=2),
                    node=node,
                    term=1,
                    sequence=self._sequence,
                    enis=[eni],
                    addresses=[
                        OfferedAddress(address=address, eni=eni.eni) for address in addresses
                    ],
                ),
                node,
            )
        except BerthError:
            return  # still in doubt
        for address in (*answer.accepted, *answer.refused):
            self.in_doubt.pop(address, None)

    async def move(self, request: MoveRequest) -> Moved:
        identity, node = request.identity.to_identity(), NodeName(request.to_node)
        self._check(identity, request)
        if self.at.get(request.address) != node:
            await asyncio.sleep(self._rng.uniform(*_MOVE_S))
            self._check(identity, request)
            self._moved(request.address, node)
            self.at[request.address] = node
            self.moves += 1
        return Moved(
            address=request.address, eni=self.eni_of(node), generation=request.generation
        )

    def _check(self, identity: Identity, request: MoveRequest) -> None:
        lease = self._lease(identity)
        if lease is None or lease.state is not AddressState.MOVING:
            raise Stale(f"{identity}: it does not move")
        if lease.generation != request.generation:
            raise Stale(f"{identity}: {request.generation} is not {lease.generation}")

    async def reclaim(self, request: ReclaimRequest) -> Reclaimed:
        identity = request.identity.to_identity()
        lease = self._lease(identity)
        if lease is None or lease.state is not AddressState.EXPIRED:
            raise Stale(f"{identity}: it has not expired")
        if lease.generation != request.generation:
            raise Stale(f"{identity}: it has not expired at generation {request.generation}")
        self.taken_back.add(request.address)
        return Reclaimed(address=request.address, generation=request.generation)

    async def instance(self, request: NodeInstanceRequest) -> NodeInstance:
        return NodeInstance(instance=f"ins-{request.node}", condition=InstanceCondition.RUNNING)

    def _settle(self) -> bool:
        """What no lease has any more is free, and what is one's by now was taken when it was
        offered. False: a store that is being rebuilt tells nothing."""
        books = self._store.books
        if books.opened_on != self._store.life or not books.number:
            return False
        leased = {lease.address for lease in books.fixed.values()}
        for address in leased:
            self.in_doubt.pop(address, None)
        for address in sorted(self.taken_back - leased):
            self.taken_back.discard(address)
            self.free.append(address)
        return True

    def _lease(self, identity: Identity) -> Lease | None:
        return self._store.books.fixed.get(identity)
