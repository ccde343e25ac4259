"""The whole simulator with its network: relays under control, and a saved cloud rebuilt."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.vpc_simulator.config import RelayDocument
from services.vpc_simulator.fabric.instances import InstanceNamespaces
from shared.ids import InstanceId
from shared.kernel.conversation import Conversation
from shared.kernel.links import link_by_mac
from shared.kernel.netns import open_netns, socket_in
from tests.support.simulated_cloud import SimulatedCloud, simulated_cloud

pytestmark = pytest.mark.kernel

LISTEN = "127.0.0.1:4222"
RELAY = f"instances/ins-one/relays/{LISTEN}"


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """On the host: says everything back."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def wired(tmp_path: Path, echo: str) -> AsyncIterator[SimulatedCloud]:
    relays = (RelayDocument(listen=LISTEN, target=echo),)
    async with simulated_cloud(
        tmp_path, wireless=False, run_dir=tmp_path, relays=relays
    ) as cloud:
        yield cloud


async def connected(run_dir: Path) -> tuple[StreamReader, StreamWriter]:
    """From inside ins-one to its relay."""
    namespaces = InstanceNamespaces.load(run_dir).instances
    netns = open_netns(namespaces[InstanceId("ins-one")])
    try:
        sock = socket_in(netns, socket.AF_INET, socket.SOCK_STREAM)
    finally:
        os.close(netns)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", 4222))
    return await asyncio.open_connection(sock=sock)


async def test_an_operator_partitions_heals_and_cuts_a_relay(
    wired: SimulatedCloud, tmp_path: Path
) -> None:
    reader, writer = await connected(tmp_path)
    writer.write(b"one")
    first = await asyncio.wait_for(reader.readexactly(3), 5)

    _, partitioned = await wired.admin("POST", f"{RELAY}/partition")
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.3)
    await wired.admin("POST", "instances/ins-one/relays/all/heal")
    second = await asyncio.wait_for(reader.readexactly(3), 5)
    await wired.admin("POST", f"{RELAY}/cut")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.transport.abort()

    assert (first, second) == (b"one", b"two")
    assert partitioned["relays"] == [
        {"relay": LISTEN, "connections": 1, "partitioned": True, "delay_ms": 0}
    ]


async def test_a_relay_is_delayed_and_listed(wired: SimulatedCloud, tmp_path: Path) -> None:
    await wired.admin("POST", f"{RELAY}/delay", {"delay_ms": 200})
    reader, writer = await connected(tmp_path)
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    writer.write(b"slow")
    await asyncio.wait_for(reader.readexactly(4), 5)
    _, listed = await wired.admin("GET", "instances/ins-one/relays")
    writer.transport.abort()

    assert loop.time() - began_s >= 0.4  # there and back
    assert listed["relays"] == [
        {"relay": LISTEN, "connections": 1, "partitioned": False, "delay_ms": 200}
    ]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("instances/ins-no/relays/all/cut", 404),
        ("instances/ins-one/relays/127.0.0.1:1/cut", 404),
        (f"{RELAY}/explode", 400),
    ],
)
async def test_what_is_no_relay_or_no_verb_is_refused(
    wired: SimulatedCloud, path: str, status: int
) -> None:
    answered, _ = await wired.admin("POST", path)

    assert answered == status


async def test_a_saved_cloud_has_its_network_again(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    settings: dict[str, Any] = {"wireless": False, "run_dir": tmp_path, "state": state}
    async with simulated_cloud(tmp_path, **settings) as cloud:
        eni = await cloud.attached("ins-one", SecondaryPrivateIpAddressCount=1)
        await cloud.admin("POST", "instances/ins-two/stop")
        before = (await cloud.admin("GET", "state"))[1]

    async with simulated_cloud(tmp_path, **settings) as cloud:
        after = (await cloud.admin("GET", "state"))[1]
        macs = {each["id"]: each["mac"] for each in after["enis"]}  # type: ignore[attr-defined]
        namespaces = InstanceNamespaces.load(tmp_path).instances
        netns = open_netns(namespaces[InstanceId("ins-one")])
        try:
            kernel = Conversation(netns)
            link = link_by_mac(kernel, macs[eni])
            kernel.close()
        finally:
            os.close(netns)

    assert after == before
    assert link is not None
    assert "ins-two" not in namespaces
