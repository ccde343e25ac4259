"""What the agents of many nodes know, asked side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from berth.commands.options import deadline_of
from shared.bus.client import BusClient
from shared.errors import BerthError
from shared.ids import NodeName
from shared.messages.nodes import AGENT_INVENTORY, Inventory, InventoryRequest

_AT_ONCE_MAX: Final = 64


async def fetch_inventories(
    bus: BusClient, nodes: Iterable[NodeName], *, with_kernel: bool = False
) -> tuple[list[Inventory], dict[NodeName, str]]:
    """The inventories, and why which agent gave none."""
    slots = asyncio.Semaphore(_AT_ONCE_MAX)
    silent: dict[NodeName, str] = {}

    async def fetch(node: NodeName) -> Inventory | None:
        request = InventoryRequest(
            node=node, with_kernel=with_kernel, deadline=deadline_of(AGENT_INVENTORY)
        )
        async with slots:
            try:
                return await bus.call(AGENT_INVENTORY, request, node)
            except BerthError as error:
                silent[node] = str(error)
                return None

    found = await asyncio.gather(*(fetch(node) for node in nodes))
    return [each for each in found if each is not None], silent
