"""The wire of exclusive mode by packets of a simulated VPC, beside shared pods."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from services.node_agent.domain.requests import Check
from shared.addresses import AddressState
from shared.annotations import NetworkMode
from shared.errors import NotFound, StockEmpty
from shared.kernel.addresses import link_addresses
from shared.kernel.conversation import Conversation
from shared.kernel.links import link_by_mac, link_by_name, set_down
from shared.kernel.routes import delete_route, routes
from shared.kernel.sysctl import read_sysctl
from tests.netns.exclusive.conftest import OUTSIDE, SERVICES, ExclusiveWorld
from tests.support.agent_world import exchange, key, soon
from tests.support.probes import ping
from tests.support.vpcs import SUBNETS, eni

pytestmark = pytest.mark.kernel

_PINGS = 3


def reaches(netns: int, to: IPv4Address) -> bool:
    """A link that has just come up may lose its first packet: one answer is enough."""
    return any(ping(netns, to) is not None for _ in range(_PINGS))


async def test_the_enis_link_is_the_pods_with_address_default_and_second_link(
    world: ExclusiveWorld,
) -> None:
    wired, sandbox = await world.exclusive("c1")

    port = world.port_of(wired.address)
    with Conversation(sandbox.netns) as kernel, Conversation(world.node) as node:
        eth0, veth = link_by_name(kernel, "eth0"), link_by_name(kernel, "veth0")
        assert eth0 is not None
        assert veth is not None
        addresses = {each.address for each in link_addresses(kernel) if each.index > 1}
        found = {(each.to, each.link, each.gateway) for each in routes(kernel)}
        at_home = link_by_mac(node, port.mac)
    _, gateway = SUBNETS[port.subnet]
    node_addresses = [world.node_address, world.shared.primary_address]
    hop = IPv4Address("169.254.1.1")
    assert (eth0.mac, eth0.is_up, wired.mac) == (port.mac, True, port.mac)
    here = port.primary_address
    assert addresses == {IPv4Interface((here, 24)), IPv4Interface((here, 32))}
    assert found >= {
        (IPv4Network("0.0.0.0/0"), eth0.index, gateway),
        (SERVICES, veth.index, hop),
        (IPv4Network("169.254.0.0/16"), veth.index, hop),
        *((IPv4Network(each), veth.index, hop) for each in node_addresses),
    }
    assert at_home is None
    assert (wired.gateway, wired.prefix_length) == (gateway, 24)
    for name in ("eth0", "veth0"):
        assert read_sysctl(f"ipv4/conf/{name}/rp_filter", netns=sandbox.netns) == "2"


async def test_it_reaches_and_is_reached_by_everybody_in_the_vpc(world: ExclusiveWorld) -> None:
    one, one_box = await world.exclusive("c1")
    two, two_box = await world.exclusive("c2")
    near, near_box = await world.sharing("c3")
    far, other_subnet = eni(2, "ins-2", 0), eni(3, "ins-3", 0, subnet="subnet-b")
    vpc = world.vpc

    # another pod of the node with an ENI of its own, and a shared one; both ways
    assert exchange(one_box.netns, two_box.netns, two.address) == str(one.address)
    assert exchange(one_box.netns, near_box.netns, near.address) == str(one.address)
    assert exchange(near_box.netns, one_box.netns, one.address) == str(near.address)
    # other machines: of the subnet, and of another one; both ways
    for port in (far, other_subnet):
        there = vpc.netns(port.instance or "")
        assert exchange(one_box.netns, there, port.primary_address) == str(one.address)
        assert exchange(there, one_box.netns, one.address) == str(port.primary_address)
    # the gateway and the world beyond, under its own address
    _, gateway = SUBNETS[far.subnet]
    assert reaches(one_box.netns, gateway)
    assert exchange(one_box.netns, vpc.netns("outside"), OUTSIDE) == str(one.address)
    # its own node, by the second link
    assert exchange(one_box.netns, world.node, world.node_address) == str(one.address)
    assert exchange(world.node, one_box.netns, one.address) == str(world.node_address)


async def test_a_pod_cannot_speak_as_somebody_else_by_either_link(
    world: ExclusiveWorld,
) -> None:
    _, one = await world.exclusive("c1")
    two, _ = await world.exclusive("c2")
    shared, _ = await world.sharing("c3")
    far = eni(2, "ins-2", 0)
    before = await world.vpc.fabric.drops()

    there = world.vpc.netns("ins-2")
    for stolen in (two.address, IPv4Address("203.0.113.9")):
        assert exchange(one.netns, there, far.primary_address, spoofed=stolen) is None
    for stolen in (two.address, shared.address):
        assert exchange(one.netns, world.node, world.node_address, spoofed=stolen) is None

    assert await world.vpc.fabric.drops() >= before + 2


async def test_del_brings_the_eni_back_down_and_bare_before_it_answers(
    world: ExclusiveWorld,
) -> None:
    wired, sandbox = await world.exclusive("c1")
    port = world.port_of(wired.address)

    await world.agent.service.delete(key("c1"))

    with Conversation(world.node) as node, Conversation(sandbox.netns) as inside:
        link = link_by_mac(node, port.mac)
        assert link is not None
        assert not link.is_up
        assert [each for each in link_addresses(node) if each.index == link.index] == []
        assert link_by_name(inside, "eth0") is None
        assert [r for r in routes(node) if r.to == IPv4Network(wired.address)] == []
    await world.agent.service.delete(key("c1"))
    assert world.agent.ledger.exclusive_states()[AddressState.COOLING] == 1


async def test_del_succeeds_when_the_sandbox_is_gone_and_the_eni_is_used_again(
    world: ExclusiveWorld,
) -> None:
    await world.offer(world.whole[0])  # the other one was taken away
    wired, sandbox = await world.exclusive("c1")
    sandbox.end()

    await world.agent.service.delete(key("c1"))
    world.agent.ledger.rest(soon(1000), timedelta(0))
    again, _ = await world.exclusive("c2")

    assert again.address == wired.address


async def test_the_same_add_again_has_the_same_answer_and_check_agrees(
    world: ExclusiveWorld,
) -> None:
    wired, sandbox = await world.exclusive("c1")

    again = await world.add(sandbox, NetworkMode.EXCLUSIVE)

    assert again == wired
    await world.agent.service.check(
        Check(key=key("c1"), netns_fd=sandbox.netns, address=wired.address)
    )
    with Conversation(sandbox.netns) as inside:
        link = link_by_name(inside, "eth0")
        assert link is not None
        inside.do([set_down(link.index)])
    with pytest.raises(NotFound, match="eth0 is down"):
        await world.agent.service.check(
            Check(key=key("c1"), netns_fd=sandbox.netns, address=wired.address)
        )
    assert await world.add(sandbox, NetworkMode.EXCLUSIVE) == wired
    assert reaches(sandbox.netns, SUBNETS[world.whole[0].subnet][1])


async def test_without_an_idle_eni_the_pod_waits_and_says_for_what(
    world: ExclusiveWorld,
) -> None:
    await world.exclusive("c1")
    await world.exclusive("c2")

    with pytest.raises(StockEmpty, match="no idle ENI of its own"):
        await world.add(world.new_sandbox("c3"), NetworkMode.EXCLUSIVE, wait_s=0.5)

    await world.sharing("c4")  # shared stock is not an exclusive pod's, nor the other way


async def test_what_others_break_on_the_node_is_repaired(world: ExclusiveWorld) -> None:
    wired, sandbox = await world.exclusive("c1")
    with Conversation(world.node) as node:
        for route in routes(node):
            if route.to == IPv4Network(wired.address):
                node.do([delete_route(route)])

    assert world.agent.repairer.repair() == 1
    assert world.agent.repairer.repair() == 0
    assert exchange(world.node, sandbox.netns, wired.address) == str(world.node_address)
