"""What the eni_manager asks of the allocators over the bus."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Address

from shared.bus.client import BusClient
from shared.clock import Clock
from shared.ids import NodeName, SubnetId
from shared.messages.leases import LEASE_MAKE_ROOM, RoomRequest


class BusAllocators:
    """Implements Allocators."""

    def __init__(self, bus: BusClient, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def make_room(
        self, node: NodeName, subnets: Sequence[SubnetId], count: int
    ) -> Sequence[IPv4Address]:
        request = RoomRequest(
            deadline=self._clock.now() + timedelta(seconds=LEASE_MAKE_ROOM.timeout_s),
            node=node,
            subnets=tuple(subnets),
            count=count,
        )
        return (await self._bus.call(LEASE_MAKE_ROOM, request)).ended
