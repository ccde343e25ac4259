"""What the eni_manager asks of the allocators over the bus."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Final

from shared.bus.client import BusClient
from shared.clock import Clock
from shared.ids import NodeName, SubnetId
from shared.messages.leases import LEASE_MAKE_ROOM, RoomMade, RoomRequest

_HOLD_TIMEOUT_S: Final = 1.0  # the node's rounds, and moves to it, wait for the answer


class BusAllocators:
    """Implements Allocators."""

    def __init__(self, bus: BusClient, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def make_room(
        self, node: NodeName, subnets: Sequence[SubnetId], count: int
    ) -> Sequence[IPv4Address]:
        return (await self._ask(node, subnets, count, is_node_full=False)).ended

    async def hold_elsewhere(
        self, node: NodeName, subnets: Sequence[SubnetId], count: int
    ) -> Sequence[IPv4Address]:
        return (await self._ask(node, subnets, count, is_node_full=True)).leaving

    async def _ask(
        self, node: NodeName, subnets: Sequence[SubnetId], count: int, *, is_node_full: bool
    ) -> RoomMade:
        timeout_s = _HOLD_TIMEOUT_S if is_node_full else LEASE_MAKE_ROOM.timeout_s
        request = RoomRequest(
            deadline=self._clock.now() + timedelta(seconds=timeout_s),
            node=node,
            subnets=tuple(subnets),
            count=count,
            is_node_full=is_node_full,
        )
        return await self._bus.call(LEASE_MAKE_ROOM, request)
