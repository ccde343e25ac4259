"""kill -9 at any point of an exclusive ADD or DEL: after the next start kernel = book."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from services.node_agent.adapters.exclusive_netlink import ExclusiveNetlink
from services.node_agent.domain.requests import Check
from services.node_agent.domain.wiring import PROTOCOL
from shared.addresses import AddressState
from shared.annotations import NetworkMode
from shared.errors import BerthError, InvalidInput
from shared.kernel.addresses import link_addresses
from shared.kernel.conversation import Conversation
from shared.kernel.links import link_by_mac, link_by_name, links, set_alias, set_up
from shared.kernel.routes import routes
from tests.netns.exclusive.conftest import Boot, ExclusiveWorld
from tests.support.agent_world import exchange, key, soon

pytestmark = pytest.mark.kernel


class PowerCut(BaseException):
    """Not an Exception: nothing of the agent's may run after it, as after kill -9."""


def cut(*_: object) -> None:
    raise PowerCut


def assert_bare(world: ExclusiveWorld) -> None:
    """Both whole ENIs are in the node's namespace, down and bare; nothing of a pod is left."""
    with Conversation(world.node) as node:
        found = [link_by_mac(node, port.mac) for port in world.whole]
        with_address = {each.index for each in link_addresses(node)}
        names = {link.name for link in links(node)}
        marked = [r for r in routes(node) if r.protocol == PROTOCOL and r.gateway is None]
    assert all(link is not None and not link.is_up for link in found)
    assert not with_address & {link.index for link in found if link is not None}
    assert not {name for name in names if name.startswith(("eni", "ene"))}
    assert marked == []


def later(cut_at: str) -> object:
    return pytest.param(cut_at, marks=pytest.mark.long)


def rested(world: ExclusiveWorld) -> None:
    world.agent.ledger.rest(soon(1000), timedelta(0))


async def test_a_pods_own_eni_is_kept_over_a_restart(boot: Boot) -> None:
    world = await boot()
    await world.offer(*world.whole)
    wired, sandbox = await world.exclusive("c1")

    world = await boot()

    assert exchange(sandbox.netns, world.node, world.node_address) == str(wired.address)
    assert exchange(world.node, sandbox.netns, wired.address) is not None
    assert world.agent.links.is_complete, "the ENI in the sandbox is not looked for"
    assert world.agent.repairer.repair() == 0
    assert await world.add(sandbox, NetworkMode.EXCLUSIVE) == wired
    second, _ = await world.exclusive("c2")
    assert second.address != wired.address


async def test_an_eni_whose_sandbox_went_meanwhile_is_free_again(boot: Boot) -> None:
    world = await boot()
    await world.offer(*world.whole)
    _, sandbox = await world.exclusive("c1")
    sandbox.end()

    world = await boot()

    assert world.agent.ledger.attachments.get(key("c1")) is None
    assert world.agent.ledger.exclusive_states()[AddressState.COOLING] == 1
    rested(world)
    await world.exclusive("c2")
    await world.exclusive("c3")


@pytest.mark.parametrize(
    "cut_at",
    [
        later("before_the_kernel"),
        later("after_the_veth"),
        "in_the_sandbox",
        later("before_the_answer"),
    ],
)
async def test_an_add_that_was_cut_off_is_undone(
    boot: Boot, cut_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await boot()
    await world.offer(*world.whole)
    agent = world.agent
    places: dict[str, tuple[object, str]] = {
        "before_the_kernel": (agent.service, "_make"),
        "after_the_veth": (agent.links, "take_in"),
        "in_the_sandbox": (ExclusiveNetlink, "_configure"),
        "before_the_answer": (agent.ledger, "wired"),
    }
    monkeypatch.setattr(*places[cut_at], cut)
    with pytest.raises(PowerCut):
        await world.exclusive("c1")
    monkeypatch.undo()

    world = await boot()

    assert len(world.agent.ledger.attachments) == 0
    assert_bare(world)
    rested(world)
    wired, sandbox = await world.exclusive("c2")
    await world.exclusive("c3")
    assert exchange(sandbox.netns, world.node, world.node_address) == str(wired.address)


@pytest.mark.parametrize(
    "cut_at", [later("before_the_eni"), "after_the_eni", later("after_the_book")]
)
async def test_a_del_that_was_cut_off_is_finished(
    boot: Boot, cut_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await boot()
    await world.offer(*world.whole)
    await world.exclusive("c1")
    agent = world.agent
    places: dict[str, tuple[object, str]] = {
        "before_the_eni": (ExclusiveNetlink, "bring_back"),
        "after_the_eni": (agent.ledger, "close"),
        "after_the_book": (agent.links, "wait_back"),
    }
    monkeypatch.setattr(*places[cut_at], cut)
    with pytest.raises(PowerCut):
        await agent.service.delete(key("c1"))
    monkeypatch.undo()

    world = await boot()
    await world.agent.service.delete(key("c1"))
    while not world.agent.unlinker.is_done:
        assert await world.agent.unlinker.worked.wait(5)

    assert_bare(world)
    assert world.agent.ledger.exclusive_states()[AddressState.COOLING] == 1
    rested(world)
    await world.exclusive("c2")
    await world.exclusive("c3")


async def test_an_eni_that_somebody_configured_is_bare_before_a_pod_has_it(boot: Boot) -> None:
    world = await boot()
    port = world.whole[0]
    world.vpc.configure("ins-1", port.mac, port.primary_address)
    with Conversation(world.node) as node:
        link = link_by_mac(node, port.mac)
        assert link is not None
        node.do([set_up(link.index)])

    await world.offer(*world.whole)

    assert_bare(world)


async def test_a_refused_add_gives_the_eni_back(world: ExclusiveWorld) -> None:
    _, sandbox = await world.exclusive("c1")
    before = world.agent.ledger.exclusive_states()

    with pytest.raises(InvalidInput, match="is taken in the sandbox"):
        # Another attachment of the same sandbox and interface name: eth0 is there already.
        await world.add(type(sandbox)("c2", sandbox.netns, sandbox.path), NetworkMode.EXCLUSIVE)

    states = world.agent.ledger.exclusive_states()
    assert before[AddressState.STOCK] == 1
    assert (states[AddressState.BOUND_IMMEDIATE], states[AddressState.COOLING]) == (1, 1)
    assert exchange(sandbox.netns, world.node, world.node_address) is not None


async def test_an_eni_that_the_cloud_took_leaves_no_holder(world: ExclusiveWorld) -> None:
    wired, _ = await world.exclusive("c1")
    port = world.port_of(wired.address)
    await world.vpc.fabric.remove_eni(port.eni)
    others = [each for each in world.whole if each is not port]

    await world.offer(*others)

    assert world.agent.ledger.attachments.get(key("c1")) is None
    assert world.agent.ledger.stock.get(wired.address) is None
    await world.exclusive("c2")


async def test_a_pods_own_eni_is_known_again_when_the_book_is_lost(
    boot: Boot, tmp_path: Path
) -> None:
    world = await boot()
    await world.offer(*world.whole)
    wired, sandbox = await world.exclusive("c1")
    before = world.agent.ledger.attachments.get(key("c1"))
    assert before is not None

    shutil.rmtree(tmp_path / "run")
    world = await boot()

    held = world.agent.ledger.attachments.get(key("c1"))
    assert held is not None
    assert held == replace(before, since=held.since, own_eni=held.own_eni)
    assert held.own_eni is not None
    assert before.own_eni is not None
    assert set(held.own_eni.by_veth) == set(before.own_eni.by_veth)
    await world.agent.service.check(
        Check(key=key("c1"), netns_fd=sandbox.netns, address=wired.address)
    )
    assert exchange(sandbox.netns, world.node, world.node_address) == str(wired.address)
    await world.agent.service.delete(key("c1"))
    with Conversation(world.node) as node:
        back = link_by_mac(node, wired.mac)
    assert back is not None
    assert not back.is_up


async def test_an_eni_inside_a_sandbox_that_nothing_names_is_not_given_away(
    boot: Boot, tmp_path: Path
) -> None:
    world = await boot()
    await world.offer(*world.whole)
    wired, sandbox = await world.exclusive("c1")
    with Conversation(world.node) as node:
        link = link_by_name(node, wired.host_ifname)
        assert link is not None
        node.do([set_alias(link.index, "")])

    shutil.rmtree(tmp_path / "run")
    world = await boot()
    rested(world)
    other, _ = await world.exclusive("c2")

    assert other.address != wired.address
    assert exchange(sandbox.netns, world.node, world.node_address) == str(wired.address)
    with pytest.raises(BerthError):
        await world.add(world.new_sandbox("c3"), NetworkMode.EXCLUSIVE, wait_s=0.5)
    sandbox.end()
    await until_ended(world)
    assert_back(world, wired.address)


async def until_ended(world: ExclusiveWorld) -> None:
    """The kernel ends a namespace, and the links in it, in the background."""
    async with asyncio.timeout(20):
        while len(world.agent.ledger.attachments) > 1:
            world.agent.repairer.round()
            await asyncio.sleep(0.05)


def assert_back(world: ExclusiveWorld, address: IPv4Address) -> None:
    held = world.agent.ledger.stock.get(address)
    assert held is not None
    assert held.state is AddressState.COOLING
