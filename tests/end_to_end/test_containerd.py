"""containerd drives the plugin over the CRI: pods up and down, restarts in between, chains.

The agent is the real process, with its bus away all the time: it has stock, and needs no more.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import grpc.aio
import pytest

from berth.programs import base_environment, python_module
from services.node_agent.adapters.book import FileBook
from services.node_agent.domain.wiring import PROTOCOL
from services.node_agent.ledger import Ledger
from services.node_agent.orders import eni_of
from shared.clock import SystemClock
from shared.kernel.conversation import Conversation
from shared.kernel.links import links
from shared.kernel.neighbours import Neighbour, add_neighbour
from shared.kernel.netns import in_netns, new_netns, open_netns, socket_in
from shared.kernel.routes import rules
from tests.support.agent_world import (
    ENI,
    ENI_MAC,
    NODE_ADDRESS,
    OUTSIDE,
    PRIMARY,
    STOCK,
    SUBNET,
    build_node,
    exchange,
    index_of,
)
from tests.support.cni_calls import Runtime
from tests.support.containerd import Containerd, Sandbox, containerd, missing

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(240)]

PODS = 50
ADDRESSES = tuple(SUBNET[number] for number in range(20, 120))
IN_FLIGHT = 16
HOST_PORT = 8080
PATIENCE_S = 20.0


@dataclass
class AgentProcess:
    """``berth-node-agent`` in this thread's namespace."""

    run_dir: Path
    environment: dict[str, str]
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self.run_dir.parent / "agent.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *python_module("services.node_agent.main"),
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        await until(self.conflist.exists)
        await until(self._answers)

    async def kill(self) -> None:
        assert self.process is not None, "only a started one is killed"
        self.process.kill()
        await self.process.wait()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as peer, suppress(OSError):
            peer.connect(str(self.run_dir / "agent.sock"))
            return True
        return False

    @property
    def conflist(self) -> Path:
        return Path(self.environment["BERTH_NODE_AGENT_CNI_CONF_DIR"], "10-berth.conflist")

    def attached(self) -> dict[str, dict[str, str]]:
        """What the book says, by container id."""
        bodies = []
        for path in (self.run_dir / "book" / "attachments").iterdir():
            with suppress(FileNotFoundError):
                bodies.append(json.loads(path.read_text())["body"])
        return {body["key"]["container_id"]: body for body in bodies}


@dataclass
class Node:
    runtime: Containerd
    agent: AgentProcess
    netns: int
    vpc: int

    async def up(self, names: list[str]) -> list[Sandbox]:
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def one(name: str) -> Sandbox:
            async with slots:
                return await self.runtime.run(name)

        return await asyncio.gather(*map(one, names))

    async def down(self, sandboxes: list[Sandbox]) -> None:
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def one(sandbox: Sandbox) -> None:
            async with slots:
                await self.runtime.stop(sandbox.id)

        await asyncio.gather(*map(one, sandboxes))

    def reaches_outside(self, sandbox: Sandbox) -> bool:
        netns = open_netns(self.agent.attached()[sandbox.id]["netns_path"])
        try:
            return exchange(netns, self.vpc, OUTSIDE) == sandbox.address
        finally:
            os.close(netns)

    def host_links(self) -> set[str]:
        with Conversation(self.netns) as conversation:
            return {link.name for link in links(conversation) if link.name.startswith("eni")}

    def our_rules(self) -> int:
        with Conversation(self.netns) as conversation:
            return sum(rule.protocol == PROTOCOL for rule in rules(conversation))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: it becomes the path of sockets."""
    with tempfile.TemporaryDirectory(prefix="berth-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
async def node(folder: Path) -> AsyncIterator[Node]:
    why = missing()
    if why is not None:
        pytest.skip(why)
    netns, vpc = new_netns(), new_netns()
    build_node(netns, vpc)
    _deliver(vpc)
    run_dir = folder / "run"
    _give_stock(run_dir, folder / "state")
    with in_netns(netns):
        async with containerd(folder / "ctd") as runtime:
            agent = AgentProcess(
                run_dir, base_environment() | _settings(folder, runtime.socket)
            )
            await agent.start()
            try:
                yield Node(runtime=runtime, agent=agent, netns=netns, vpc=vpc)
            finally:
                await agent.kill()
    os.close(netns)
    os.close(vpc)


def _settings(folder: Path, runtime_socket: Path) -> dict[str, str]:
    values = {
        "INSTANCE": "ins-a",
        "POD_SOURCE": "none",
        "CNI_BIN_DIR": str(folder / "ctd" / "bin"),
        "CNI_CONF_DIR": str(folder / "ctd" / "conf"),
        "COOLING_S": "0.5",
        "RUNTIME_SOCKET": str(runtime_socket),
        "GARBAGE_INTERVAL_S": "0.5",
        "GARBAGE_GRACE_S": "5",
    }
    return {f"BERTH_NODE_AGENT_{name}": value for name, value in values.items()} | {
        "BERTH_NODE": "node-a",
        "BERTH_NATS_URL": "nats://127.0.0.1:9",
        "BERTH_RUN_DIR": str(folder / "run"),
        "BERTH_STATE_DIR": str(folder / "state"),
    }


def _deliver(vpc: int) -> None:
    """As the VPC does: what is assigned to the ENI is sent to it without asking."""
    with Conversation(vpc) as there:
        link = index_of(there, "peth1")
        there.do(
            [
                add_neighbour(Neighbour(link=link, address=address, mac=ENI_MAC))
                for address in ADDRESSES
                if address not in STOCK
            ]
        )


def _give_stock(run_dir: Path, state_dir: Path) -> None:
    """As an earlier life of the agent was offered it."""
    book = FileBook(run_dir=run_dir, state_dir=state_dir)
    now = SystemClock().now()
    eni = eni_of(ENI)
    Ledger(book, now).accept(
        (eni_of(PRIMARY), eni), [(address, eni.eni) for address in ADDRESSES], now
    )
    book.close()


async def until(is_so: Callable[[], bool], *, timeout_s: float = PATIENCE_S) -> None:
    """Neither a folder nor a kernel tells of every change, so they are asked."""
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_fifty_pods_up_and_down_with_restarts_in_between_leave_nothing(
    node: Node,
) -> None:
    names = [f"web-{number}" for number in range(PODS)]
    random.Random(5).shuffle(names)

    first = await node.up(names[: PODS // 2])
    await node.runtime.kill()
    await node.runtime.start()
    assert await node.runtime.ready() == {each.id for each in first}
    second = await node.up(names[PODS // 2 :])

    every = [*first, *second]
    assert {IPv4Address(each.address) for each in every} <= set(ADDRESSES)
    assert len({each.address for each in every}) == PODS
    attached = node.agent.attached()
    assert {it: body["address"] for it, body in attached.items()} == {
        each.id: each.address for each in every
    }
    assert all(node.reaches_outside(each) for each in (first[0], second[0], second[-1]))

    await node.down(first)
    await node.agent.kill()
    await node.down(second)  # every DEL is spooled
    assert len(list((node.agent.run_dir / "spool").iterdir())) == len(second)
    await node.agent.start()

    assert node.agent.attached() == {}
    assert await node.runtime.ready() == set()
    await until(lambda: node.host_links() == set())
    # Of the connection mark, the pods' table and the ENI's marks: the node's own.
    assert node.our_rules() == 3
    assert (await node.runtime.run("again")).address in map(str, ADDRESSES)


async def test_a_pod_without_an_address_gets_the_reason_and_its_next_try_succeeds(
    node: Node,
) -> None:
    (node.runtime.conf_dir / "05-strict.conflist").write_text(
        json.dumps(
            {
                "cniVersion": "1.0.0",
                "name": "berth",
                "plugins": [
                    {
                        "type": "berth-cni",
                        "runDir": str(node.agent.run_dir / "nobody"),
                        "agentWaitSeconds": 0,
                    }
                ],
            }
        )
    )
    assert "no node agent listens" in await _until_refused(node)
    (node.runtime.conf_dir / "05-strict.conflist").unlink()

    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(grpc.aio.AioRpcError):
                assert (await node.runtime.run("web-1")).address in map(str, ADDRESSES)
                break


async def _until_refused(node: Node) -> str:
    """containerd reads the folder again by itself, a moment later."""
    async with asyncio.timeout(PATIENCE_S):
        for number in itertools.count():
            try:
                sandbox = await node.runtime.run(f"probe-{number}")
            except grpc.aio.AioRpcError as error:
                return str(error.details())
            await node.runtime.stop(sandbox.id)
    raise AssertionError("containerd never read the list")


async def test_plugins_behind_us_in_the_chain_find_what_they_need(node: Node) -> None:
    plugins = [
        {"type": "berth-cni", "runDir": str(node.agent.run_dir), "podSource": "none"},
        {"type": "bandwidth", "egressRate": 10**8, "egressBurst": 10**8},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    body = {"cniVersion": "1.0.0", "name": "berth", "plugins": plugins}
    chain = node.runtime.conf_dir / "05-chain.conflist"
    chain.with_suffix(".new").write_text(json.dumps(body))
    chain.with_suffix(".new").rename(chain)
    for tries in range(100):  # until containerd has read it
        sandbox = await node.runtime.run(f"web-{tries}", host_port=HOST_PORT)
        if _has_shaper(node):
            break
        await node.runtime.stop(sandbox.id)

    answer = await asyncio.to_thread(_ask_host_port, node, sandbox)
    await node.runtime.stop(sandbox.id)

    assert answer == b"from the pod"
    await until(lambda: node.host_links() == set())
    assert not _has_shaper(node)


def _has_shaper(node: Node) -> bool:
    """The bandwidth plugin shapes what leaves a pod on a link of its own."""
    with Conversation(node.netns) as conversation:
        return any(link.name.startswith("bwp") for link in links(conversation))


def _ask_host_port(node: Node, sandbox: Sandbox) -> bytes:
    """From beyond the node to its hostPort; the pod answers."""
    pod = open_netns(node.agent.attached()[sandbox.id]["netns_path"])
    stream = (socket.AF_INET, socket.SOCK_STREAM)
    try:
        with socket_in(pod, *stream) as server, socket_in(node.vpc, *stream) as client:
            server.bind((sandbox.address, 80))
            server.listen()
            for each in (server, client):
                each.settimeout(5.0)
            client.connect((str(NODE_ADDRESS), HOST_PORT))
            with server.accept()[0] as connection:
                connection.sendall(b"from the pod")
            return client.recv(64)
    finally:
        os.close(pod)


async def test_what_containerd_does_not_know_is_freed_and_its_own_pods_are_kept(
    node: Node,
) -> None:
    kept = await node.runtime.run("db-0")
    stray = new_netns()
    plugin = Runtime(
        plugin=node.runtime.bin_dir / "berth-cni",
        run_dir=node.agent.run_dir,
        netns=f"/proc/{os.getpid()}/fd/{stray}",
        container_id="forgotten",
    )

    called = await plugin.call("ADD", podSource="none")
    assert called.status == 0, called
    assert "forgotten" in node.agent.attached()

    await until(lambda: "forgotten" not in node.agent.attached())
    os.close(stray)
    assert set(node.agent.attached()) == {kept.id}
    assert node.reaches_outside(kept)
