"""kill -9 at any point: after the next start the kernel is what the book says."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from services.node_agent.adapters import netlink
from services.node_agent.domain.wiring import PROTOCOL
from shared.kernel.conversation import Conversation
from shared.kernel.links import VethEnd, add_veth, links
from shared.kernel.netns import pin, unpin
from shared.kernel.routes import Rule, add_rule, delete_rule, routes, rules
from tests.netns.agent.conftest import Boot
from tests.support.agent_world import NODE_ADDRESS, OUTSIDE, STOCK, exchange, key, offer

pytestmark = pytest.mark.kernel

OF_THE_NODE = 4  # rules of the pods' table and of two marks, and the ENI's default route


async def test_a_wired_pod_is_kept_over_a_restart(boot: Boot) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    wired, pod = await world.add("c1")

    world = await boot()

    assert exchange(pod, world.vpc, OUTSIDE) == str(wired.address)
    assert await world.wire("c1", pod) == wired
    assert world.agent.heartbeat.counts().idle == len(STOCK) - 1


async def test_a_pod_whose_sandbox_went_meanwhile_is_taken_down(
    boot: Boot, tmp_path: Path
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    path = tmp_path / "sandbox"
    netns = world.make_netns()
    pin(netns, path)
    wired = await world.wire("c1", netns, path=str(path))
    unpin(path)

    world = await boot()

    assert world.agent.ledger.attachments.get(key("c1")) is None
    assert world.agent.heartbeat.counts().cooling == 1
    assert _ours(world.node) == OF_THE_NODE
    assert wired.host_ifname not in _names(world.node)


@pytest.mark.parametrize("cut_at", ["before_the_kernel", "in_the_kernel", "before_the_answer"])
async def test_an_add_that_was_cut_off_is_undone(
    boot: Boot, cut_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    _cut(world.agent.service._kernel, world.agent.ledger, cut_at, monkeypatch)
    with pytest.raises(_PowerCut):
        await world.add("c1")
    monkeypatch.undo()

    world = await boot()

    assert len(world.agent.ledger.attachments) == 0
    assert world.agent.heartbeat.counts().cooling == 1
    assert _ours(world.node) == OF_THE_NODE
    assert not {name for name in _names(world.node) if name.startswith("eni")}
    again, netns = await world.add("c1")
    assert exchange(netns, world.node, NODE_ADDRESS) == str(again.address)


async def test_what_carries_our_mark_and_has_no_reason_goes_and_strangers_stay(
    boot: Boot,
) -> None:
    world = await boot()
    with Conversation(world.node) as conversation:
        conversation.do(
            [
                add_veth(
                    VethEnd(name="eni0123456789a", mac="ae:be:00:00:00:01"),
                    VethEnd(name="gone"),
                    mtu=1400,
                ),
                add_veth(VethEnd(name="eni0123456789b"), VethEnd(name="foreign"), mtu=1400),
            ]
        )

    world = await boot()

    assert "eni0123456789a" not in _names(world.node)
    assert "eni0123456789b" in _names(world.node)


async def test_the_rules_of_an_agent_that_had_one_for_each_pod_go(boot: Boot) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    wired, pod = await world.add("c1")
    source = IPv4Network(wired.address)
    old = Rule(priority=1536, table=4003, source=source, protocol=PROTOCOL)
    with Conversation(world.node) as conversation:
        (new,) = [rule for rule in rules(conversation) if rule.priority == 1536]
        conversation.do([delete_rule(new), add_rule(old)])

        world = await boot()

        assert [rule for rule in rules(conversation) if rule.priority == 1536] == [new]
    assert exchange(pod, world.vpc, OUTSIDE) == str(wired.address)


class _PowerCut(BaseException):
    """Not an Exception: nothing of the agent's may run after it, as after kill -9."""


def _cut(kernel: object, ledger: object, cut_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise _PowerCut

    if cut_at == "before_the_kernel":
        monkeypatch.setattr(kernel, "wire_pod", cut)
    elif cut_at == "in_the_kernel":
        monkeypatch.setattr(netlink, "_pod_requests", cut)
    else:
        monkeypatch.setattr(ledger, "wired", cut)


def _ours(node: int) -> int:
    with Conversation(node) as conversation:
        marks = [each.protocol for each in rules(conversation)]
        marks += [each.protocol for each in routes(conversation)]
    return marks.count(PROTOCOL)


def _names(node: int) -> set[str]:
    with Conversation(node) as conversation:
        return {link.name for link in links(conversation)}
