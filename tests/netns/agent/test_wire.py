"""The wire of shared mode by packets, and what of it the kernel holds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from services.node_agent.adapters.sources import SourceTable
from services.node_agent.domain.requests import Check
from services.node_agent.domain.wiring import PROTOCOL, SOURCES_NFT_TABLE
from shared.errors import NotFound
from shared.kernel.conversation import Conversation
from shared.kernel.links import delete_link, link_by_name, links
from shared.kernel.nft_sets import delete_elements
from shared.kernel.nftables import Nftables
from shared.kernel.routes import delete_rule, routes, rules
from shared.kernel.sysctl import read_sysctl
from shared.messages.nodes import StockRecall
from tests.netns.agent.conftest import NodeWorld
from tests.support.agent_world import (
    GATEWAY,
    NODE,
    NODE_ADDRESS,
    OUTSIDE,
    STOCK,
    exchange,
    key,
    soon,
    write_pod,
)

pytestmark = pytest.mark.kernel


async def test_a_pod_reaches_its_node_and_its_node_reaches_it(world: NodeWorld) -> None:
    wired, pod = await world.add("c1")

    assert exchange(pod, world.node, NODE_ADDRESS) == str(wired.address)
    assert exchange(world.node, pod, wired.address) is not None


async def test_pods_of_one_node_reach_each_other(world: NodeWorld) -> None:
    one, one_netns = await world.add("c1")
    two, two_netns = await world.add("c2")

    assert exchange(one_netns, two_netns, two.address) == str(one.address)
    assert exchange(two_netns, one_netns, one.address) == str(two.address)


async def test_a_pod_reaches_gateway_and_world_under_its_own_address(world: NodeWorld) -> None:
    wired, pod = await world.add("c1")

    assert exchange(pod, world.vpc, GATEWAY) == str(wired.address)
    assert exchange(pod, world.vpc, OUTSIDE) == str(wired.address)


async def test_the_vpc_reaches_a_pod_by_its_eni(world: NodeWorld) -> None:
    wired, pod = await world.add("c1")

    assert exchange(world.vpc, pod, wired.address) == str(GATEWAY)


async def test_a_pod_cannot_speak_as_its_neighbour_or_a_stranger(world: NodeWorld) -> None:
    _, one_netns = await world.add("c1")
    two, _ = await world.add("c2")

    assert exchange(one_netns, world.vpc, OUTSIDE, spoofed=two.address) is None
    assert exchange(one_netns, world.vpc, OUTSIDE, spoofed=STOCK[-1]) is None
    assert exchange(one_netns, world.node, NODE_ADDRESS, spoofed=two.address) is None


async def test_rules_routes_and_settings_are_those_of_the_design(world: NodeWorld) -> None:
    wired, _ = await world.add("c1")

    with Conversation(world.node) as conversation:
        ours = {r for r in rules(conversation) if r.protocol == PROTOCOL}
        marked = {r for r in routes(conversation) if r.protocol == PROTOCOL}
        eni = link_by_name(conversation, "eth1")
        host = link_by_name(conversation, wired.host_ifname)
    assert eni is not None
    assert host is not None
    here = IPv4Network(wired.address)
    assert {(r.priority, r.source, r.to, r.mark, r.table) for r in ours} == {
        (512, None, None, None, 4000),
        (1024, None, None, 0x80, 254),
        (1536, None, None, 1, 4000 + eni.index),
    }
    assert {r.mask for r in ours if r.priority == 1536} == {0x3F}
    assert world.agent.links.marks() == dict.fromkeys(STOCK, 1)
    assert {(r.to, r.link, r.gateway, r.table, r.is_onlink) for r in marked} == {
        (here, host.index, None, 4000, False),
        (IPv4Network("0.0.0.0/0"), eni.index, GATEWAY, 4000 + eni.index, True),
    }
    assert host.mac == wired.host_mac
    assert host.mtu == wired.mtu == 1400
    assert read_sysctl(f"ipv4/conf/{wired.host_ifname}/rp_filter", netns=world.node) == "1"
    assert read_sysctl(f"ipv6/conf/{wired.host_ifname}/disable_ipv6", netns=world.node) == "1"
    assert read_sysctl("ipv4/conf/eth1/rp_filter", netns=world.node) == "2"
    assert read_sysctl("ipv4/ip_forward", netns=world.node) == "1"


async def test_del_leaves_nothing_and_can_be_repeated(world: NodeWorld) -> None:
    with Conversation(world.node) as conversation:
        before = _kernel_of(conversation)
    wired, _ = await world.add("c1")

    await world.agent.service.delete(key("c1"))
    await world.agent.service.delete(key("c1"))
    while not world.agent.unlinker.is_done:
        assert await world.agent.unlinker.worked.wait(5)

    with Conversation(world.node) as conversation:
        assert _kernel_of(conversation) == before
    assert world.agent.heartbeat.counts().cooling == 1
    assert wired.address in STOCK


async def test_an_eni_whose_link_went_takes_its_rule_and_marks_along(world: NodeWorld) -> None:
    await world.add("c1")
    with Conversation(world.node) as conversation:
        eni = link_by_name(conversation, "eth1")
        assert eni is not None
        conversation.do([delete_link(eni.index)])
    world.agent.links.refresh()

    await world.agent.service.delete(key("c1"))

    with Conversation(world.node) as conversation:
        left = [rule.priority for rule in rules(conversation) if rule.protocol == PROTOCOL]
    assert left == [512, 1024]
    assert world.agent.repairer.repair() == 0
    assert _marks() == {}


async def test_add_again_answers_the_same_and_check_agrees(world: NodeWorld) -> None:
    wired, netns = await world.add("c1")

    again = await world.wire("c1", netns)

    assert again == wired
    await world.agent.service.check(Check(key=key("c1"), netns_fd=netns, address=wired.address))


async def test_check_names_what_is_missing(world: NodeWorld) -> None:
    wired, netns = await world.add("c1")
    with Conversation(world.node) as conversation:
        (rule,) = [r for r in rules(conversation) if r.priority == 1536]
        conversation.do([delete_rule(rule)])

    check = Check(key=key("c1"), netns_fd=netns, address=wired.address)
    with pytest.raises(NotFound, match="rule 1536 is missing"):
        await world.agent.service.check(check)

    world.agent.repairer.repair()
    await world.agent.service.check(check)
    _forget_mark(world, wired.address)

    with pytest.raises(NotFound, match=f"source {wired.address} lacks its mark 1"):
        await world.agent.service.check(check)


async def test_a_new_sandbox_takes_over_and_the_old_del_does_not_hurt_it(
    world: NodeWorld, tmp_path: Path
) -> None:
    pod = write_pod(tmp_path, "web-0", "uid-1")
    old, old_netns = await world.add("old", pod, "uid-1")
    new, netns = await world.add("new", pod, "uid-1")

    await world.agent.service.delete(key("old"))

    assert new.host_ifname == old.host_ifname
    assert new.address != old.address
    with Conversation(old_netns) as conversation:
        assert link_by_name(conversation, "eth0") is None
    assert exchange(netns, world.node, NODE_ADDRESS) == str(new.address)


async def test_what_others_break_is_repaired(world: NodeWorld) -> None:
    _, pod = await world.add("c1")
    with Conversation(world.node) as conversation:
        for rule in rules(conversation):
            if rule.protocol == PROTOCOL:
                conversation.do([delete_rule(rule)])

    count = world.agent.repairer.repair()

    assert count == 3
    assert world.agent.repairer.repair() == 0
    assert exchange(pod, world.vpc, OUTSIDE) is not None


async def test_a_mark_that_others_took_away_is_given_again(world: NodeWorld) -> None:
    wired, pod = await world.add("c1")
    _forget_mark(world, wired.address)

    count = world.agent.repairer.repair()

    assert count == 1
    assert world.agent.repairer.repair() == 0
    assert _marks()[wired.address] == 1
    assert exchange(pod, world.vpc, OUTSIDE) == str(wired.address)


async def test_a_recalled_address_loses_its_mark_and_nothing_has_drifted(
    world: NodeWorld,
) -> None:
    recall = StockRecall(
        deadline=soon(), node=NODE, term=1, sequence=2, recall="r1", count=3, settled=()
    )

    await world.agent.orders.recall(recall)

    assert world.agent.repairer.repair() == 0
    assert len(world.agent.links.marks()) == len(STOCK) - 3
    assert _marks() == world.agent.links.marks()


def _marks() -> Mapping[IPv4Address, int]:
    with closing(SourceTable()) as table:
        return table.read()


def _forget_mark(world: NodeWorld, address: IPv4Address) -> None:
    with Nftables(world.node) as tables:
        tables.commit(delete_elements(SOURCES_NFT_TABLE, "sources", [address.packed]))


def _kernel_of(conversation: Conversation) -> tuple[object, ...]:
    return (
        sorted(rules(conversation)),
        sorted(routes(conversation), key=repr),
        [link.name for link in links(conversation)],
    )
