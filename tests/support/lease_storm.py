"""Pods that keep coming while something fails: each asks until it is answered, as agents do."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

from shared.bus.client import BusClient
from shared.errors import BerthError, ErrorCode, NotFound
from shared.messages.base import IdentityFields
from shared.messages.leases import LEASE_GET, LeaseGetRequest
from shared.runtime.loops import cancel
from tests.support.allocators import CLOCK, PATIENCE, Agent, identity

_FIRST = int(IPv4Address("11.0.0.0"))
_AGAIN_S = 0.02


class LeaseStorm:
    """`acknowledged` is what was answered: it must never be otherwise again."""

    def __init__(self, client: BusClient) -> None:
        self.acknowledged: dict[str, IPv4Address] = {}
        self._client = client
        self._numbers = itertools.count(1)
        self._more = asyncio.Condition()

    @asynccontextmanager
    async def blowing(self, nodes: int) -> AsyncIterator[None]:
        """On each node one pod after the other, until the block ends."""
        agents = [Agent(self._client, f"node-{number}") for number in range(nodes)]
        tasks = [asyncio.create_task(self._pods(each), name=each.node) for each in agents]
        try:
            yield
        finally:
            await cancel(tasks)

    async def answered(self, more: int) -> None:
        """Until so many pods more have their address."""
        wanted = len(self.acknowledged) + more
        async with self._more:
            await self._more.wait_for(lambda: len(self.acknowledged) >= wanted)

    async def broken(self, told: dict[str, IPv4Address]) -> dict[str, str]:
        """Those of these pods whose lease is not what they were told, and what it is."""
        wrong = {}
        for pod, address in told.items():
            found = await self._look(pod)
            if found != str(address):
                wrong[pod] = found
        return wrong

    async def _look(self, pod: str) -> str:
        while True:
            request = LeaseGetRequest(
                deadline=CLOCK.now() + PATIENCE, identity=IdentityFields.of(identity(pod))
            )
            try:
                return str((await self._client.call(LEASE_GET, request)).lease.address)
            except NotFound:
                return "none"
            except BerthError:
                await asyncio.sleep(_AGAIN_S)

    async def _pods(self, agent: Agent) -> None:
        await register(agent)
        while True:
            number = next(self._numbers)
            name = f"pod-{number}"
            address = await acquired(agent, name, str(IPv4Address(_FIRST + number)))
            async with self._more:
                self.acknowledged[name] = address
                self._more.notify_all()


async def acquired(agent: Agent, pod: str, candidate: str) -> IPv4Address:
    """The pod's address, however often it must be asked for."""
    while True:
        try:
            return (await agent.acquire(pod, candidate=candidate)).address
        except BerthError as error:
            if error.code is ErrorCode.NOT_REGISTERED:
                await register(agent)
        await asyncio.sleep(_AGAIN_S)


async def register(agent: Agent) -> None:
    """Begin a life of the node's agent, however often it must be said."""
    for attempt in itertools.count():
        try:
            nonce = f"{agent.node}-{agent.incarnation}-{attempt}"
            await agent.register(nonce=nonce, last=agent.incarnation)
        except BerthError:
            await asyncio.sleep(_AGAIN_S)
        else:
            return
