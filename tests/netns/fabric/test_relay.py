"""What listens inside an instance leads out to the host, until somebody takes it away."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web

from services.vpc_simulator.fabric.namespace_fabric import NamespaceFabric
from services.vpc_simulator.fabric.offers import METADATA_AT, RelayWanted
from services.vpc_simulator.relay import Endpoint, Relay, RelayLimits, Way
from shared.ids import InstanceId
from shared.kernel.netns import open_netns, socket_in

pytestmark = pytest.mark.kernel

INSTANCE = InstanceId("ins-1")
LISTEN: Endpoint = ("127.0.0.1", 4222)


@pytest.fixture
async def echo() -> AsyncIterator[Endpoint]:
    """On the host: says everything back when its caller has finished or paused."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.write(b"<end>")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


@dataclass(slots=True)
class Caller:
    """A client inside the instance."""

    reader: StreamReader
    writer: StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, size: int, *, timeout_s: float = 5.0) -> bytes:
        async with asyncio.timeout(timeout_s):
            return await self.reader.readexactly(size)


class Callers:
    """Makes clients inside instances, and ends them with the test."""

    def __init__(self, fabric: NamespaceFabric) -> None:
        self._fabric = fabric
        self._made: list[Caller] = []

    async def connect(self, to: Endpoint = LISTEN, instance: InstanceId = INSTANCE) -> Caller:
        netns = open_netns(self._fabric.namespaces.instances[instance])
        try:
            sock = socket_in(netns, socket.AF_INET, socket.SOCK_STREAM)
        finally:
            os.close(netns)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, to)
        caller = Caller(*await asyncio.open_connection(sock=sock))
        self._made.append(caller)
        return caller

    def close(self) -> None:
        for caller in self._made:
            caller.writer.transport.abort()


@pytest.fixture
async def callers(fabric: NamespaceFabric) -> AsyncIterator[Callers]:
    callers = Callers(fabric)
    try:
        yield callers
    finally:
        callers.close()


@pytest.fixture
async def relay(fabric: NamespaceFabric, echo: Endpoint) -> Relay:
    """From the instance's loopback to the host's."""
    await fabric.set_instance(INSTANCE)
    return await fabric.relay(INSTANCE, listen=LISTEN, target=echo)


async def test_what_is_said_comes_back(relay: Relay, callers: Callers) -> None:
    sent = os.urandom(1_000_000)  # more than every buffer on the way
    caller = await callers.connect()

    saying = asyncio.create_task(caller.say(sent))
    heard = await caller.hear(len(sent), timeout_s=20)
    await saying

    assert heard == sent


async def test_who_has_finished_speaking_still_hears_the_rest(
    relay: Relay, callers: Callers
) -> None:
    caller = await callers.connect()
    await caller.say(b"all of it")

    caller.writer.write_eof()

    async with asyncio.timeout(5):
        assert await caller.reader.read() == b"all of it<end>"


async def test_nothing_passes_a_partition_and_all_of_it_arrives_when_it_heals(
    relay: Relay, callers: Callers
) -> None:
    caller = await callers.connect()
    await caller.say(b"before")
    assert await caller.hear(6) == b"before"

    relay.partition()
    late = await callers.connect()
    await caller.say(b"during")
    await late.say(b"too")
    with pytest.raises(TimeoutError):
        await caller.hear(6, timeout_s=0.3)
    relay.heal()

    assert await caller.hear(6) == b"during"
    assert await late.hear(3) == b"too"


async def test_a_cut_resets_what_is_open_and_welcomes_what_is_new(
    relay: Relay, callers: Callers
) -> None:
    caller = await callers.connect()
    await caller.say(b"x")
    await caller.hear(1)

    await relay.cut()

    with pytest.raises(ConnectionResetError):
        await caller.hear(1)
    again = await callers.connect()
    await again.say(b"y")
    assert await again.hear(1) == b"y"
    assert relay.connections == 1


async def test_a_delay_keeps_everything_back_until_it_is_ended(
    relay: Relay, callers: Callers
) -> None:
    loop = asyncio.get_running_loop()
    caller = await callers.connect()
    relay.delay(0.2)

    began = loop.time()
    await caller.say(b"slow")
    await caller.hear(4)
    slow_s = loop.time() - began
    relay.delay(0)
    began = loop.time()
    await caller.say(b"fast")
    await caller.hear(4)

    assert slow_s >= 0.4  # there and back
    assert loop.time() - began < 0.2


async def test_more_connections_than_allowed_are_reset(
    fabric: NamespaceFabric, echo: Endpoint, callers: Callers
) -> None:
    await fabric.set_instance(INSTANCE)
    limits = RelayLimits(connections_max=1)
    await fabric.relay(INSTANCE, listen=LISTEN, target=echo, limits=limits)
    first = await callers.connect()
    await first.say(b"x")
    await first.hear(1)

    second = await callers.connect()

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await second.hear(1)
    await first.say(b"y")
    assert await first.hear(1) == b"y"


async def test_a_target_that_does_not_answer_ends_the_connection(
    fabric: NamespaceFabric, callers: Callers
) -> None:
    await fabric.set_instance(INSTANCE)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused
        await fabric.relay(INSTANCE, listen=LISTEN, target=nobody.getsockname())
        caller = await callers.connect()

        with pytest.raises(ConnectionResetError):
            await caller.hear(1)


async def test_each_instance_finds_its_own_metadata_and_the_bus(
    fabric: NamespaceFabric, echo: Endpoint, callers: Callers
) -> None:
    async def metadata(request: web.Request) -> web.Response:
        return web.Response(
            text="{instance} asks for {path}".format_map(dict(request.match_info))
        )

    fabric.offer(relays=[RelayWanted(listen=LISTEN, target=echo)], metadata=metadata)
    instances = [InstanceId("ins-1"), InstanceId("ins-2")]
    for instance in instances:
        await fabric.set_instance(instance)

    answers = []
    for instance in instances:
        asking = await callers.connect(METADATA_AT, instance)
        await asking.say(b"GET /latest/meta-data/mac HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(5):
            answers.append((await asking.reader.read()).rpartition(b"\r\n")[2])
        bus = await callers.connect(LISTEN, instance)
        await bus.say(b"x")
        assert await bus.hear(1) == b"x"

    assert answers == [
        b"ins-1 asks for latest/meta-data/mac",
        b"ins-2 asks for latest/meta-data/mac",
    ]


async def test_a_removed_instance_takes_its_connections_with_it(
    fabric: NamespaceFabric, relay: Relay, callers: Callers
) -> None:
    caller = await callers.connect()
    await caller.say(b"x")
    await caller.hear(1)

    await fabric.remove_instance(INSTANCE)

    with pytest.raises(ConnectionResetError):
        await caller.hear(1)
    assert fabric.relays(INSTANCE) == ()
    assert INSTANCE not in fabric.namespaces.instances


async def test_one_way_may_be_cut_alone(relay: Relay, callers: Callers) -> None:
    caller = await callers.connect()
    await caller.say(b"before")
    assert await caller.hear(6) == b"before"

    relay.partition(Way.OUT)
    await caller.say(b"after")
    assert relay.is_partitioned
    with pytest.raises(TimeoutError):
        await caller.hear(5, timeout_s=0.3)

    relay.heal()
    assert await caller.hear(5) == b"after"
