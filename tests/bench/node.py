"""``python -m tests.bench.node FOLDER ADDRESSES COOLING_S AGENT``: a node in its namespaces.

AGENT is the module that is the agent's process. NATS, a stand-in for allocator and eni_manager
on it, an ENI, and the real agent process, fed with stock. Prints the agent's process id once it
serves, again for each agent that is started in the place of one that was killed; for each line
it reads, what the agents have reported; ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import count
from pathlib import Path
from typing import Final

from berth.programs import base_environment, python_module
from shared.bus.client import BusClient
from shared.bus.connection import connect_bus
from shared.bus.server import RequestServer
from shared.clock import SystemClock
from shared.ids import ClusterName, NodeName
from shared.kernel.addresses import add_address
from shared.kernel.conversation import Conversation
from shared.kernel.links import VethEnd, add_veth, link_by_name, set_up
from shared.kernel.netns import isolate, new_netns
from shared.messages.base import EniFields, ServiceName
from shared.messages.leases import LEASE_REPORT, Reported, ReportRequest
from shared.messages.nodes import (
    NODE_REGISTER,
    NODE_WANT,
    STOCK_OFFER,
    OfferedAddress,
    Registered,
    RegisterRequest,
    StockOffer,
    Wanted,
    WantRequest,
)
from shared.settings import ServiceSettings
from tests.bench.kubernetes import kubernetes
from tests.support.servers import nats_server

CLUSTER: Final = ClusterName("bench")
NODE: Final = NodeName("node-bench")
SUBNET: Final = IPv4Network("10.97.0.0/16")
SOCKET: Final = "agent.sock"
_OFFER_MAX: Final = 512
_READY_S: Final = 60.0
_LOOPBACK: Final = 1
_MACS: Final = {"eth0": "20:90:6f:00:00:01", "eth1": "20:90:6f:00:00:02"}


class Peer:
    """Allocator and eni_manager as far as this agent needs them: everything is granted."""

    def __init__(self, bus: BusClient, addresses: int) -> None:
        self._bus = bus
        self._left = [SUBNET[256 + number] for number in range(addresses)]
        self._sequence = count(1)
        self.told: dict[str, str] = {}  # address: state

    async def register(self, request: RegisterRequest) -> Registered:
        return Registered(incarnation=request.last_incarnation + 1)

    async def report(self, request: ReportRequest) -> Reported:
        for each in request.addresses:
            self.told[str(each.address)] = each.state.value
        for address in request.gone:
            self.told.pop(str(address), None)
        return Reported(count=len(request.addresses))

    async def want(self, _: WantRequest) -> Wanted:
        return Wanted()

    async def feed(self) -> None:
        while self._left:
            part, self._left = self._left[:_OFFER_MAX], self._left[_OFFER_MAX:]
            offer = StockOffer(
                deadline=datetime.now(UTC) + timedelta(seconds=_READY_S),
                node=NODE,
                term=1,
                sequence=next(self._sequence),
                enis=[_eni("eth0", IPv4Address("10.96.0.5")), _eni("eth1", SUBNET[5])],
                addresses=[OfferedAddress(address=each, eni="eni-eth1") for each in part],
            )
            await self._bus.call(STOCK_OFFER, offer, NODE)


def _eni(link: str, address: IPv4Address) -> EniFields:
    return EniFields(
        eni=f"eni-{link}",
        subnet=f"subnet-{link}",
        mac=_MACS[link],
        primary_address=address,
        subnet_cidr=SUBNET if link == "eth1" else IPv4Network("10.96.0.0/16"),
        gateway=SUBNET[1] if link == "eth1" else IPv4Address("10.96.0.1"),
        is_primary=link == "eth0",
    )


def _build_links() -> None:
    """Both ENIs, their far ends in a namespace that lives as long as this process."""
    with Conversation() as here:
        here.do([set_up(_LOOPBACK)])
        beyond = new_netns()
        with Conversation(beyond) as there:
            for name, mac in _MACS.items():
                far = f"p{name}"
                here.do(
                    [
                        add_veth(
                            VethEnd(name=name, mac=mac),
                            VethEnd(name=far, netns=beyond),
                            mtu=1500,
                        )
                    ]
                )
                link, other = link_by_name(here, name), link_by_name(there, far)
                assert link is not None
                assert other is not None
                there.do([set_up(other.index)])
                here.do([set_up(link.index)])
                if name == "eth0":
                    here.do([add_address(link.index, IPv4Interface("10.96.0.5/16"))])


def _start_agent(
    folder: Path, nats_url: str, cooling_s: str, module: str, more: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    environment = (
        base_environment()
        | {
            "BERTH_CLUSTER": CLUSTER,
            "BERTH_NATS_URL": nats_url,
            "BERTH_NODE": NODE,
            "BERTH_NODE_AGENT_INSTANCE": "ins-bench",
            "BERTH_NODE_AGENT_POD_SOURCE": "none",
            "BERTH_NODE_AGENT_COOLING_S": cooling_s,
            "BERTH_RUN_DIR": str(folder),
            "BERTH_STATE_DIR": str(folder / "state"),
            "BERTH_LOG_LEVEL": "WARNING",
        }
        | dict(more)
    )
    with (folder / "agent.log").open("ab") as log:
        return subprocess.Popen(
            python_module(module),
            env=environment,
            stdout=log,
            stderr=log,
        )


async def _run(
    folder: Path, addresses: int, cooling_s: str, module: str, nats_url: str
) -> None:
    clock = SystemClock()
    nats = await connect_bus(
        ServiceSettings(cluster=CLUSTER, nats_url=nats_url), client_name="bench-peer"
    )
    bus = BusClient(nats, cluster=CLUSTER, clock=clock, rng=random.Random(1))
    peer = Peer(bus, addresses)
    server = RequestServer(nats, cluster=CLUSTER, clock=clock, in_flight_max=64)
    await server.serve_all(
        ServiceName.ALLOCATOR,
        "everything is granted",
        {NODE_REGISTER: peer.register, LEASE_REPORT: peer.report, NODE_WANT: peer.want},
    )
    ended = asyncio.create_task(_answer_until_the_end(peer))
    async with kubernetes(folder, NODE) as more:
        try:
            while not ended.done():
                agent = _start_agent(folder, nats_url, cooling_s, module, more)
                await _agents_life(folder, peer, ended, agent)
        finally:
            await nats.close()


async def _answer_until_the_end(peer: Peer) -> None:
    while await asyncio.to_thread(sys.stdin.readline):
        _say(json.dumps(peer.told))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _agents_life(
    folder: Path, peer: Peer, ended: asyncio.Task[None], agent: subprocess.Popen[bytes]
) -> None:
    """Until it is killed, or the node ends."""
    try:
        async with asyncio.timeout(_READY_S):
            await peer.feed()
            while not _is_serving(folder / SOCKET):  # noqa: ASYNC110 # a folder tells of nothing
                await asyncio.sleep(0.02)
        _say(str(agent.pid))
        death = asyncio.create_task(asyncio.to_thread(agent.wait))
        await asyncio.wait([death, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        agent.send_signal(signal.SIGTERM)
        await asyncio.to_thread(agent.wait, 20)


def _is_serving(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def main() -> None:
    folder, addresses = Path(sys.argv[1]), int(sys.argv[2])
    cooling_s, module = sys.argv[3:5]
    isolate()
    _build_links()
    with nats_server() as server:
        asyncio.run(_run(folder, addresses, cooling_s, module, server.url))


if __name__ == "__main__":
    main()
