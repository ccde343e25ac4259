"""``python -m tests.bench.node FOLDER ADDRESSES``: one node in namespaces of its own.

NATS, a stand-in for allocator and eni_manager on it, an ENI, and the real agent process, fed
with stock. Prints the agent's process id once it serves; ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import count
from pathlib import Path
from typing import Final

from berth.programs import base_environment
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
    """Allocator and eni_manager as far as this node needs them: everything is granted."""

    def __init__(self, bus: BusClient, addresses: int) -> None:
        self._bus = bus
        self._left = [SUBNET[256 + number] for number in range(addresses)]
        self._sequence = count(1)
        self.has_fed = asyncio.Event()

    async def register(self, request: RegisterRequest) -> Registered:
        return Registered(incarnation=request.last_incarnation + 1)

    async def report(self, request: ReportRequest) -> Reported:
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
        self.has_fed.set()


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


def _start_agent(folder: Path, nats_url: str) -> subprocess.Popen[bytes]:
    environment = base_environment() | {
        "BERTH_CLUSTER": CLUSTER,
        "BERTH_NATS_URL": nats_url,
        "BERTH_NODE": NODE,
        "BERTH_NODE_AGENT_INSTANCE": "ins-bench",
        "BERTH_NODE_AGENT_POD_SOURCE": "none",
        "BERTH_RUN_DIR": str(folder),
        "BERTH_STATE_DIR": str(folder / "state"),
        "BERTH_LOG_LEVEL": "WARNING",
    }
    with (folder / "agent.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services.node_agent.main"],
            env=environment,
            stdout=log,
            stderr=log,
        )


async def _run(folder: Path, addresses: int, nats_url: str) -> None:
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
    agent = _start_agent(folder, nats_url)
    try:
        async with asyncio.timeout(_READY_S):
            await peer.feed()
            while not (folder / SOCKET).exists():  # noqa: ASYNC110 - a file tells of nothing
                await asyncio.sleep(0.02)
        sys.stdout.write(f"{agent.pid}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    finally:
        agent.send_signal(signal.SIGTERM)
        await asyncio.to_thread(agent.wait, 20)
        await nats.close()


def main() -> None:
    folder, addresses = Path(sys.argv[1]), int(sys.argv[2])
    isolate()
    _build_links()
    os.environ.pop("BERTH_NATS_URL", None)
    with nats_server() as server:
        asyncio.run(_run(folder, addresses, server.url))


if __name__ == "__main__":
    main()
