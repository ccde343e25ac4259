"""Three NATS servers that are one: streams with three replicas, and a leader that may die."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import nats
import nats.errors
from nats.aio.client import Client

from tests.support.servers import NatsServer, free_port, nats_server

SERVERS: Final = 3
_WAIT_S: Final = 30.0
_ASK_S: Final = 2.0
_AGAIN_S: Final = 0.05
_NOWHERE: Final = "127.0.0.1:1"  # what the servers tell each other of where they listen


@dataclass(frozen=True, slots=True)
class BusCluster:
    servers: dict[str, NatsServer]  # by name

    @property
    def url(self) -> str:
        return ",".join(each.url for each in self.servers.values())

    async def ready(self) -> None:
        """Until JetStream has a leader that makes replicated streams."""
        async with asyncio.timeout(_WAIT_S):
            client = await nats.connect(self.url.split(","))
            try:
                while True:
                    info = await _asked(client, "INFO")
                    if info is not None and "error" not in info:
                        return
                    await asyncio.sleep(_AGAIN_S)
            finally:
                await client.close()

    async def leader_of(self, stream: str) -> str:
        """The name of the server that decides for the stream, once there is one."""
        async with asyncio.timeout(_WAIT_S):
            client = await nats.connect(self.url.split(","))
            try:
                while True:
                    info = await _asked(client, f"STREAM.INFO.{stream}")
                    leader = (info or {}).get("cluster", {}).get("leader")
                    if leader:
                        return str(leader)
                    await asyncio.sleep(_AGAIN_S)
            finally:
                await client.close()


async def _asked(client: Client, call: str) -> dict[str, Any] | None:
    with suppress(nats.errors.Error, TimeoutError):
        answer = await client.request(f"$JS.API.{call}", b"", timeout=_ASK_S)
        found: dict[str, Any] = json.loads(answer.data)
        return found
    return None


@dataclass(frozen=True, slots=True)
class Routes:
    """Where the servers listen for each other, and the ports by which they get there."""

    listens: dict[str, int]  # by name
    ways: dict[tuple[str, str], int]  # by who connects and to whom


def direct_routes() -> Routes:
    listens = {f"bus-{number}": free_port() for number in range(SERVERS)}
    return Routes(listens, {each: listens[each[1]] for each in permutations(listens, 2)})


@contextmanager
def bus_cluster(routes: Routes | None = None) -> Iterator[BusCluster]:
    """Servers that know of no way to each other but their routes."""
    routes = routes or direct_routes()
    with ExitStack() as stack:
        servers = {}
        for name, port in routes.listens.items():
            ways = [way for (one, _), way in routes.ways.items() if one == name]
            told = ", ".join(f'"nats://127.0.0.1:{way}"' for way in ways)
            configuration = (
                f'server_name: "{name}"\n'
                f'cluster {{ name: "tests", listen: "127.0.0.1:{port}", routes: [{told}],'
                f' advertise: "{_NOWHERE}" }}'
            )
            servers[name] = stack.enter_context(nats_server(configuration))
        yield BusCluster(servers)
