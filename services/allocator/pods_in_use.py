"""Which pods use addresses now: the agents' own words, or what they last reported."""

from __future__ import annotations

import asyncio
from typing import Final

from shared.addresses import AddressState
from shared.errors import BerthError
from shared.ids import NodeName
from shared.messages.leases import ReportedAddress

from .domain.cluster import PodInUse
from .domain.cluster_ports import AgentBooks
from .domain.ports import LeaseStore
from .lease_pages import all_leases

_AT_ONCE_MAX: Final = 64


class PodsInUse:
    """Asks every node. A bound fixed lease counts, whether its node answers or not."""

    def __init__(self, leases: LeaseStore, agents: AgentBooks) -> None:
        self._leases = leases
        self._agents = agents

    async def find(self) -> list[PodInUse]:
        """By name, each once."""
        slots = asyncio.Semaphore(_AT_ONCE_MAX)

        async def ask(node: NodeName) -> list[PodInUse]:
            async with slots:
                return await self._on(node)

        nodes = await self._leases.nodes()
        found = {pod for pods in await asyncio.gather(*map(ask, nodes)) for pod in pods}
        async for lease in all_leases(self._leases):
            if lease.state is AddressState.BOUND_FIXED and lease.node is not None:
                found.add(PodInUse.of(lease.identity, lease.node))
        return sorted(found, key=lambda each: (each.pod, each.node))

    async def _on(self, node: NodeName) -> list[PodInUse]:
        try:
            return await self._agents.pods_on(node)
        except BerthError:  # away: its pods run on, and its last report names them
            reported = [
                ReportedAddress.model_validate_json(view.body)
                for view in await self._leases.reported(node)
            ]
            return [
                PodInUse.of(each.identity.to_identity(), node)
                for each in reported
                if each.state is AddressState.BOUND_IMMEDIATE and each.identity is not None
            ]
