"""Pods with fixed addresses that come and go on a stand-in agent's node."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from ipaddress import IPv4Address

from shared.addresses import AddressState
from shared.errors import BerthError, ErrorCode
from shared.ids import AttachmentKey
from shared.messages.base import AttachmentFields, IdentityFields
from shared.messages.leases import Acquired, AcquireRequest
from shared.messages.nodes import InventoryEntry
from tests.support.allocators import Agent, identity
from tests.support.eni_world import EniWorld
from tests.support.lease_storm import register
from tests.support.standin_agent import StandInAgent

_ANSWER_S = 30.0
_AGAIN_S = 0.05


class FixedPods:
    """One node's: its agent's stock, and what it asks allocators."""

    def __init__(self, world: EniWorld, agent: StandInAgent) -> None:
        self.agent = agent
        self.voice = Agent(world.bus, agent.node)

    async def register(self) -> None:
        """However often it must be said: until an epoch is open nobody is."""
        async with asyncio.timeout(_ANSWER_S):
            await register(self.voice)

    async def start(self, pod: str) -> Acquired:
        """It gets an address of the node's stock."""
        address = sorted(self.agent.idle)[0]
        got = await self.come(pod, address)
        assert got.address == address
        return got

    async def start_and_end(self, pod: str) -> IPv4Address:
        got = await self.start(pod)
        del self.agent.pods[got.address]
        await self.voice.release(pod, got.generation)
        return got.address

    async def come(self, pod: str, candidate: IPv4Address | None = None) -> Acquired:
        """Its address, however often it must be asked for, as an agent does."""
        async with asyncio.timeout(_ANSWER_S):
            while True:
                try:
                    got = await self.voice.send(self._request(pod, candidate))
                except BerthError as error:
                    if error.code is ErrorCode.NOT_REGISTERED:
                        await register(self.voice)
                    await self.agent.want_quietly()  # its heart goes on beating
                    await asyncio.sleep(_AGAIN_S)
                    continue
                self._keep(pod, got)
                return got

    def _request(self, pod: str, candidate: IPv4Address | None) -> AcquireRequest:
        if candidate is None:
            return self.voice.acquire_request(pod)
        request = self.voice.acquire_request(pod, candidate=str(candidate))
        assert request.candidate is not None, "it was named"
        named = {"eni": self.agent.owned[candidate]}
        return request.model_copy(
            update={"candidate": request.candidate.model_copy(update=named)}
        )

    def _keep(self, pod: str, got: Acquired) -> None:
        """It is the lease's from now on, and no more stock."""
        self.agent.owned.pop(got.address, None)
        if got.moved_eni is not None:
            self.agent.enis[got.moved_eni.eni] = got.moved_eni
        self.agent.pods[got.address] = InventoryEntry(
            address=got.address,
            eni=got.eni,
            state=AddressState.BOUND_FIXED,
            identity=IdentityFields.of(identity(pod)),
            pod_uid="uid-1",
            attachment=AttachmentFields.of(AttachmentKey("berth", "s1", "eth0")),
            generation=got.generation,
            since=datetime.now(UTC),
        )
