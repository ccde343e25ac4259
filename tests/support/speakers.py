"""Clients of a guarded bus: each with a key of its own, and an ear for the bus's refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from berth.playground.keys import BusKey, KeyRing
from shared.bus.connection import inbox_prefix
from shared.bus.permissions import authorization
from shared.bus.roles import Role, client_name
from shared.ids import ClusterName, NodeName
from tests.support.bus_order import reached
from tests.support.servers import nats_server

CLUSTER = ClusterName("default")
NODE_1 = NodeName("node-1")
NODE_2 = NodeName("10.0.0.2")  # a name with dots: one token of a subject all the same

_PATIENCE_S = 5.0


class Speaker:
    """A client, with what the bus refused it."""

    def __init__(self, client: Client, refusals: asyncio.Queue[str]) -> None:
        self.client = client
        self._refusals = refusals

    async def refusal(self) -> str:
        """The next refusal; waits for it."""
        async with asyncio.timeout(_PATIENCE_S):
            return await self._refusals.get()

    async def is_refused(self) -> bool:
        """Whether the bus refused anything of what was said up to now."""
        # The bus answers in order: after this round trip every refusal has arrived.
        await reached(self.client)
        return not self._refusals.empty()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedBus:
    """A real server that knows one key for each role, and two agents'."""

    url: str
    keys: dict[str, BusKey]

    @asynccontextmanager
    async def speak(self, role: Role, node: NodeName | None = None) -> AsyncIterator[Speaker]:
        name = client_name(role, node)
        refusals: asyncio.Queue[str] = asyncio.Queue()

        async def heard(error: Exception) -> None:
            refusals.put_nowait(str(error))

        client = Client()
        await client.connect(
            self.url,
            nkeys_seed_str=self.keys[name].seed_file.read_text().strip(),
            inbox_prefix=inbox_prefix(name),
            allow_reconnect=False,
            error_cb=heard,
        )
        try:
            yield Speaker(client, refusals)
        finally:
            await client.close()


@contextmanager
def guarded_bus(folder: Path) -> Iterator[GuardedBus]:
    ring = KeyRing(folder)
    owners: list[tuple[Role, NodeName | None]] = [
        (Role.ALLOCATOR, None),
        (Role.ENI_MANAGER, None),
        (Role.OPERATOR, None),
        (Role.OBSERVER, None),
        (Role.NODE_AGENT, NODE_1),
        (Role.NODE_AGENT, NODE_2),
    ]
    keys = {
        client_name(role, node): ring.bus_key(client_name(role, node), role, node)
        for role, node in owners
    }
    rules = authorization([key.user for key in keys.values()], CLUSTER)
    with nats_server(f"authorization: {json.dumps(rules)}") as server:
        yield GuardedBus(url=server.url, keys=keys)
