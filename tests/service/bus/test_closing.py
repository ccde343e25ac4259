"""A client, and a service, that is stopped while the bus is away ends in order."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from nats.aio.client import Client

from berth.enabling import fetch_status
from services.allocator.config import AllocatorSettings
from shared.bus.client import BusClient
from shared.bus.connection import BUS_CONDITION, close_bus, connect_bus
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.telemetry.health import Readiness
from tests.bench.allocators import connected, running
from tests.support.allocators import CLUSTER
from tests.support.servers import NatsServer, nats_server, redis_server

PATIENCE_S = 30.0
STEPS = 40
ENDS_S = 2.0  # some attempts to connect again
Run = Callable[[Coroutine[None, None, None]], None]


class Watched(Readiness):
    """Tells when the bus is lost."""

    def __init__(self) -> None:
        super().__init__(BUS_CONDITION)
        self.lost = asyncio.Event()

    def clear(self, condition: str, reason: str) -> None:
        super().clear(condition, reason)
        self.lost.set()


async def lost(server: NatsServer) -> Client:
    """A client whose bus was killed, and which knows it."""
    readiness = Watched()
    settings = AllocatorSettings(nats_url=server.url)
    client = await connect_bus(settings, client_name="stopped", readiness=readiness)
    await client.subscribe("anything")
    server.kill()
    async with asyncio.timeout(PATIENCE_S):
        await readiness.lost.wait()
    return client


def test_what_waits_for_a_lost_bus_does_not_keep_a_client_from_closing() -> None:
    async def close(server: NatsServer) -> Client:
        client = await lost(server)
        await client.publish("anything", b"said into the void")
        await close_bus(client)
        await close_bus(client)  # a second time, nothing is left to do
        return client

    with nats_server() as server:
        client = uvloop.run(close(server))

    assert client.is_closed


class HangsUp:
    """As much of a server as lets a client in, at a port that refuses whom it has left."""

    def __init__(self) -> None:
        self._clients: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as self._server:
            yield f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def leave(self) -> None:
        self._server.close()
        for client in self._clients:
            client.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.append(writer)
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576}\r\n')
        with suppress(ConnectionError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_a_client_that_is_closed_while_it_loses_the_bus_leaves_no_task(run: Run) -> None:
    """At each of the steps that it takes to notice, and to try again."""

    async def closed_after(steps: int) -> None:
        server = HangsUp()
        async with server.listening() as url:
            settings = AllocatorSettings(nats_url=url)
            client = await connect_bus(settings, client_name="closed")
            server.leave()
            for _ in range(steps):
                await asyncio.sleep(0)
            await close_bus(client)

        assert client.is_closed
        of_client = {each for each in asyncio.all_tasks() if "Client." in repr(each)}
        if of_client:
            _, left = await asyncio.wait(of_client, timeout=ENDS_S)
            assert left == set(), f"after {steps} steps"

    async def at_every_step() -> None:
        for steps in range(STEPS):
            await closed_after(steps)

    run(at_every_step())


async def test_a_client_that_is_connected_sends_what_it_said_before_it_closes() -> None:
    with nats_server() as server:
        settings = AllocatorSettings(nats_url=server.url)
        here = await connect_bus(settings, client_name="hears")
        heard = await here.subscribe("anything")
        await here.flush()
        there = await connect_bus(settings, client_name="says")
        await there.publish("anything", b"the last word")
        await close_bus(there)

        assert (await heard.next_msg(timeout=PATIENCE_S)).data == b"the last word"
        assert there.is_closed
        await close_bus(here)


async def test_an_allocator_that_is_stopped_while_the_bus_is_away_ends_in_order(
    tmp_path: Path,
) -> None:
    log_file = tmp_path / "allocator.log"
    with (
        nats_server() as bus,
        redis_server() as store,
        running("services.allocator.main", log_file, bus, store) as process,
    ):
        async with connected(bus) as client:
            await served(client)
        bus.kill()
        process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(process.wait, PATIENCE_S)

    assert status == 0, log_file.read_text()[-2000:]
    assert "Traceback" not in log_file.read_text()


async def served(client: Client) -> None:
    """Until the allocator answers."""
    rng = random.Random(1)
    questions = BusClient(client, cluster=CLUSTER, clock=SystemClock(), rng=rng)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await fetch_status(questions)
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                return
