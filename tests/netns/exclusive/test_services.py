"""ClusterIP, nodePort, hostPort by packets, with rules of kube-proxy's and portmap's shape."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from services.node_agent.domain.wiring import NFT_TABLE
from shared.kernel import nftables as nft
from tests.netns.exclusive.conftest import OUTSIDE, ExclusiveWorld
from tests.support.kube_proxy import Service, ask, serve
from tests.support.vpcs import eni

pytestmark = pytest.mark.kernel

CLUSTER_IP = IPv4Address("172.16.0.10")
PORT, BACKEND_PORT, NODE_PORT = 80, 8080, 30080


@dataclass
class Party:
    """Somebody with an address in a namespace."""

    name: str
    netns: int
    address: IPv4Address


async def parties(world: ExclusiveWorld) -> dict[str, Party]:
    own, own_box = await world.exclusive("c1")
    second, second_box = await world.exclusive("c2")
    shared, shared_box = await world.sharing("c3")
    other, other_box = await world.sharing("c4")
    far = eni(2, "ins-2", 0).primary_address
    found = [
        Party("own ENI", own_box.netns, own.address),
        Party("second own ENI", second_box.netns, second.address),
        Party("shared", shared_box.netns, shared.address),
        Party("second shared", other_box.netns, other.address),
        Party("node", world.node, world.node_address),
        Party("remote", world.vpc.netns("ins-2"), far),
    ]
    return {each.name: each for each in found}


def cluster_ip(backend: Party) -> Service:
    return Service(
        address=CLUSTER_IP, port=PORT, backend=backend.address, backend_port=BACKEND_PORT
    )


def asks(client: Party, backend: Party) -> str | None:
    return ask(client.netns, (CLUSTER_IP, PORT), backend.netns, (backend.address, BACKEND_PORT))


async def test_a_cluster_ip_works_from_and_to_pods_with_an_eni_of_their_own(
    world: ExclusiveWorld,
) -> None:
    who = await parties(world)
    answered: dict[tuple[str, str], str | None] = {}

    for backend in ("own ENI", "shared", "remote"):
        serve(world.node, cluster_ip(who[backend]))
        for client in ("own ENI", "second own ENI", "second shared", "node"):
            answered[client, backend] = asks(who[client], who[backend])

    own, other = (str(who[each].address) for each in ("own ENI", "second shared"))
    second, node = str(who["second own ENI"].address), str(world.node_address)
    assert answered == {
        # Into a pod with an ENI of its own: from the node, so that the answer comes back by it.
        ("own ENI", "own ENI"): node,
        ("second own ENI", "own ENI"): node,
        ("second shared", "own ENI"): node,
        ("node", "own ENI"): node,
        # To a shared pod of the node the answer comes by the node anyway.
        ("own ENI", "shared"): own,
        ("second own ENI", "shared"): second,
        ("second shared", "shared"): other,
        ("node", "shared"): node,
        # Out by the node's ENI, which may not send what a pod's own ENI has.
        ("own ENI", "remote"): node,
        ("second own ENI", "remote"): node,
        ("second shared", "remote"): other,
        ("node", "remote"): node,
    }


@pytest.mark.parametrize("kind", ["shared", "own ENI"])
async def test_a_port_of_the_node_reaches_a_local_pod_and_is_answered_by_the_node(
    world: ExclusiveWorld, kind: str
) -> None:
    """nodePort with externalTrafficPolicy Local, and hostPort: neither is masqueraded."""
    who = await parties(world)
    pod = who[kind]
    serve(
        world.node,
        Service(address=None, port=NODE_PORT, backend=pod.address, backend_port=BACKEND_PORT),
    )
    other_subnet = eni(3, "ins-3", 0, subnet="subnet-b")
    clients = [
        who["remote"],
        Party("other subnet", world.vpc.netns("ins-3"), other_subnet.primary_address),
        Party("outside", world.vpc.netns("outside"), OUTSIDE),
    ]
    dropped = await world.vpc.fabric.drops()

    for client in clients:
        seen = ask(
            client.netns,
            (world.node_address, NODE_PORT),
            pod.netns,
            (pod.address, BACKEND_PORT),
        )
        # A pod's own ENI would answer itself, so there the node asks in its own name.
        expected = client.address if kind == "shared" else world.node_address
        assert seen == str(expected), f"from {client.name}"

    assert await world.vpc.fabric.drops() == dropped


async def test_without_the_connections_mark_the_answer_leaves_by_the_wrong_eni(
    world: ExclusiveWorld,
) -> None:
    """What the tests above would see if the mark did nothing."""
    who = await parties(world)
    pod, client = who["shared"], who["remote"]
    serve(
        world.node,
        Service(address=None, port=NODE_PORT, backend=pod.address, backend_port=BACKEND_PORT),
    )
    with nft.Nftables() as tables:
        tables.commit([nft.delete_table(NFT_TABLE)])
    dropped = await world.vpc.fabric.drops()

    seen = ask(
        client.netns, (world.node_address, NODE_PORT), pod.netns, (pod.address, BACKEND_PORT)
    )

    assert seen is None
    assert await world.vpc.fabric.drops() > dropped
    assert world.agent.repairer.repair() == 1
    again = ask(
        client.netns, (world.node_address, NODE_PORT), pod.netns, (pod.address, BACKEND_PORT)
    )
    assert again == str(client.address)


async def test_a_node_port_with_policy_cluster_reaches_every_kind_of_pod(
    world: ExclusiveWorld,
) -> None:
    who = await parties(world)

    for backend in ("own ENI", "shared", "remote"):
        service = Service(
            address=None,
            port=NODE_PORT,
            backend=who[backend].address,
            backend_port=BACKEND_PORT,
            is_masqueraded=True,
        )
        serve(world.node, service)
        seen = ask(
            world.vpc.netns("ins-3"),
            (world.node_address, NODE_PORT),
            who[backend].netns,
            (who[backend].address, BACKEND_PORT),
        )
        assert seen is not None, f"to {backend}"
