"""A node agent's surroundings for tests: peers that answer it, and namespaces that carry it."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from services.node_agent.adapters.pods import FolderPods
from services.node_agent.composition import Agent, World, compose
from services.node_agent.config import NodeAgentSettings
from services.node_agent.domain.ports import Book, ExclusiveKernel, Kernel
from services.node_agent.registration import Self
from shared.annotations import DELETE_POLICY, NETWORKS, NOMINATED_IP, NOMINATED_SUBNETS
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.ids import AttachmentKey, InstanceId, NodeName, PodName, PodUid
from shared.kernel.addresses import add_address
from shared.kernel.conversation import Conversation
from shared.kernel.links import VethEnd, add_veth, link_by_name, links, set_up, settle_carrier
from shared.kernel.neighbours import Neighbour, add_neighbour
from shared.kernel.netns import socket_in
from shared.kernel.routes import Route, add_route
from shared.messages.base import Endpoint, EniFields, Message, Request
from shared.messages.nodes import OfferedAddress, StockOffer
from shared.telemetry.health import Readiness
from tests.support.memory_kernel import MemoryExclusiveKernel

Req = TypeVar("Req", bound=Request)
Out = TypeVar("Out", bound=Message)

NODE = NodeName("node-a")
ME = Self(node=NODE, instance=InstanceId("ins-a"), version="1.0.0")
PRIMARY_MAC = "20:90:6f:00:00:01"
ENI_MAC = "20:90:6f:00:00:02"
SUBNET = IPv4Network("10.0.3.0/24")
GATEWAY = IPv4Address("10.0.3.1")
ENI_ADDRESS = IPv4Address("10.0.3.10")
NODE_ADDRESS = IPv4Address("10.0.1.5")
OUTSIDE = IPv4Address("203.0.113.9")

PRIMARY = EniFields(
    eni="eni-primary",
    subnet="subnet-nodes",
    mac=PRIMARY_MAC,
    primary_address=NODE_ADDRESS,
    subnet_cidr=IPv4Network("10.0.1.0/24"),
    gateway=IPv4Address("10.0.1.1"),
    is_primary=True,
)
ENI = EniFields(
    eni="eni-pods",
    subnet="subnet-pods",
    mac=ENI_MAC,
    primary_address=ENI_ADDRESS,
    subnet_cidr=SUBNET,
    gateway=GATEWAY,
)
STOCK = tuple(SUBNET[number] for number in range(20, 30))


class Peers:
    """The other side of the bus: a handler per endpoint; without one nobody answers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[Any], Awaitable[Any]]] = {}
        self.heard: list[tuple[str, Any]] = []

    async def call(
        self, endpoint: Endpoint[Req, Out], request: Req, node: NodeName | None = None
    ) -> Out:
        self.heard.append((endpoint.name, request))
        handler = self.handlers.get(endpoint.name)
        if handler is None:
            raise Unavailable(f"nobody serves {endpoint.name}")
        answer: Out = await handler(request)
        return answer


def settings(tmp_path: Path, **changes: Any) -> NodeAgentSettings:
    values: dict[str, Any] = {
        "node": NODE,
        "instance": ME.instance,
        "pod_folder": tmp_path / "pods",
        "run_dir": tmp_path / "run",
        "state_dir": tmp_path / "state",
    }
    return NodeAgentSettings(**(values | changes))


def make_agent(
    tmp_path: Path,
    *,
    bus: Any,
    book: Book,
    kernel: Kernel,
    unlinking_kernel: Kernel | None = None,
    exclusive_kernel: ExclusiveKernel | None = None,
    seed: int = 1,
    **changes: Any,
) -> Agent:
    chosen = settings(tmp_path, **changes)
    (tmp_path / "pods").mkdir(exist_ok=True)
    world = World(
        bus=bus,
        book=book,
        kernel=kernel,
        unlinking_kernel=unlinking_kernel or kernel,
        exclusive_kernel=exclusive_kernel or MemoryExclusiveKernel(),
        pods=FolderPods(tmp_path / "pods"),
        clock=SystemClock(),
        rng=random.Random(seed),
        readiness=Readiness("registered", "stock"),
    )
    return compose(world, chosen, ME)


def write_pod(
    tmp_path: Path,
    name: str,
    uid: str,
    *,
    policy: str | None = None,
    network: str | None = None,
    replicas: int | None = None,
    subnets: str | None = None,
    nominated: str | None = None,
) -> PodName:
    """A Pod object as the folder source reads it; with `replicas`, one of a ReplicaSet."""
    asked = {
        DELETE_POLICY: policy,
        NETWORKS: network,
        NOMINATED_SUBNETS: subnets,
        NOMINATED_IP: nominated,
    }
    metadata: dict[str, object] = {
        "namespace": "shop",
        "name": name,
        "uid": uid,
        "annotations": {key: value for key, value in asked.items() if value is not None},
    }
    folder = tmp_path / "pods"
    folder.mkdir(exist_ok=True)
    if replicas is not None:
        owner = name.rpartition("-")[0]
        reference = {"kind": "ReplicaSet", "name": owner, "controller": True}
        metadata["ownerReferences"] = [reference]
        made_by = {
            "kind": "ReplicaSet",
            "metadata": {"namespace": "shop", "name": owner},
            "spec": {"replicas": replicas},
        }
        (folder / f"shop_ReplicaSet_{owner}.json").write_text(json.dumps(made_by))
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    (folder / f"shop_{name}.json").write_text(json.dumps(body))
    return PodName("shop", name)


def offer(
    *addresses: IPv4Address, sequence: int = 1, term: int = 1, enis: tuple[EniFields, ...] = ()
) -> StockOffer:
    return StockOffer(
        deadline=soon(),
        node=NODE,
        term=term,
        sequence=sequence,
        enis=list(enis or (PRIMARY, ENI)),
        addresses=[OfferedAddress(address=address, eni=ENI.eni) for address in addresses],
    )


def key(container_id: str, ifname: str = "eth0") -> AttachmentKey:
    return AttachmentKey("berth", container_id, ifname)


def uid(text: str) -> PodUid:
    return PodUid(text)


def soon(seconds: float = 5.0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def build_node(node: int, vpc: int) -> None:
    """Two ENIs of a node, and beyond them one router that is gateway and outside at once."""
    with Conversation(node) as here, Conversation(vpc) as there:
        here.do([set_up(1)])
        there.do([set_up(1)])
        for name, mac, gateway in (
            ("eth0", PRIMARY_MAC, PRIMARY.gateway),
            ("eth1", ENI_MAC, GATEWAY),
        ):
            far = f"p{name}"
            here.do(
                [add_veth(VethEnd(name=name, mac=mac), VethEnd(name=far, netns=vpc), mtu=1400)]
            )
            index, far_index = index_of(here, name), index_of(there, far)
            there.do(
                [set_up(far_index), add_address(far_index, IPv4Interface(f"{gateway}/24"))]
            )
            if name == "eth0":
                here.do(
                    [
                        add_address(index, IPv4Interface(f"{NODE_ADDRESS}/24")),
                        set_up(index),
                        add_route(
                            Route(to=IPv4Network("0.0.0.0/0"), link=index, gateway=gateway)
                        ),
                    ]
                )
            else:
                # The VPC delivers an address to its ENI without asking.
                there.do(
                    [
                        add_neighbour(Neighbour(link=far_index, address=address, mac=mac))
                        for address in (ENI_ADDRESS, *STOCK)
                    ]
                )
        there.do([add_address(1, IPv4Interface(f"{OUTSIDE}/32"))])


def index_of(conversation: Conversation, name: str) -> int:
    link = link_by_name(conversation, name)
    assert link is not None, f"no link {name}"
    return link.index


IP_TRANSPARENT = 19


def _settle(netns: int, probe: socket.socket) -> None:
    """Links whose other end has just come up can send now, not when the kernel gets to it."""
    with Conversation(netns) as conversation:
        for link in links(conversation):
            settle_carrier(probe, link.name)


def exchange(
    source_netns: int,
    target_netns: int,
    target: IPv4Address,
    *,
    spoofed: IPv4Address | None = None,
    port: int = 7007,
) -> str | None:
    """Send a datagram and answer it: the source the target saw, None if nothing came."""
    with (
        socket_in(target_netns, socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket_in(source_netns, socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        _settle(source_netns, client)
        _settle(target_netns, server)
        server.bind((str(target), port))
        server.settimeout(0.5)
        client.settimeout(0.5)
        if spoofed is not None:
            client.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
            client.bind((str(spoofed), 0))
        client.sendto(b"ping", (str(target), port))
        try:
            _, seen = server.recvfrom(64)
            if spoofed is None:
                server.sendto(b"pong", seen)
                client.recvfrom(64)
        except TimeoutError:
            return None
        return str(seen[0])
