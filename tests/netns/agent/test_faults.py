"""What others break on a node is put right within five seconds and counted by its kind."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.node_agent.domain.requests import Wired
from services.node_agent.domain.wiring import (
    FROM_POD_PRIORITY,
    PROTOCOL,
    SOURCES_NFT_TABLE,
    TABLE_STEP,
)
from services.node_agent.healing import keep_repairing
from shared.kernel.conversation import Conversation
from shared.kernel.links import delete_link, link_by_name, set_down, set_mac
from shared.kernel.netns import pin, unpin
from shared.kernel.nftables import Nftables, delete_table
from shared.kernel.routes import (
    Route,
    Rule,
    add_route,
    add_rule,
    delete_rule,
    dump_routes,
    read_route,
    routes,
    rules,
)
from shared.kernel.sysctl import read_sysctl, write_sysctl
from shared.runtime.loops import Loops
from tests.netns.agent.conftest import Boot, NodeWorld
from tests.support.agent_world import (
    ENI_MAC,
    OUTSIDE,
    STOCK,
    exchange,
    index_of,
    offer,
    settings,
)

pytestmark = pytest.mark.kernel

WITHIN_S = 5.0
DEFAULT = IPv4Network("0.0.0.0/0")
REPAIRS = "berth_node_agent_repairs_total"
DISPLACED = "berth_node_agent_tables_displaced_count"


@dataclass
class Patient:
    """A node that heals itself, and one of its pods."""

    world: NodeWorld
    wired: Wired
    pod: int
    kernel: Conversation

    async def until(self, is_well: Callable[[], bool]) -> None:
        while not is_well():
            assert await self.world.agent.repairer.repaired.wait(WITHIN_S), "not repaired"

    def rule_of_eni(self) -> Rule:
        (found,) = [r for r in rules(self.kernel) if r.priority == FROM_POD_PRIORITY]
        return found

    def is_talking(self) -> bool:
        """Within a second or two: the kernel gives the pod's end its carrier when it likes."""
        tries = (exchange(self.pod, self.world.vpc, OUTSIDE) for _ in range(4))
        return any(seen == str(self.wired.address) for seen in tries)


@pytest.fixture
async def patient(boot: Boot, tmp_path: Path) -> AsyncIterator[Patient]:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    wired, pod = await world.add("c1")
    loops = Loops(random.Random(1))
    changes = keep_repairing(world.agent, settings(tmp_path), loops, own=())
    with Conversation(world.node) as kernel:
        yield Patient(world=world, wired=wired, pod=pod, kernel=kernel)
    await loops.stop()
    changes.close()


async def test_a_deleted_rule_comes_back(patient: Patient) -> None:
    before = _count("rule")
    rule = patient.rule_of_eni()

    patient.kernel.do([delete_rule(rule)])
    await patient.until(lambda: rule in rules(patient.kernel))

    assert _count("rule") == before + 1
    assert patient.is_talking()


async def test_marks_of_sources_that_were_deleted_are_given_again(patient: Patient) -> None:
    before = _count("nftables")

    with Nftables(patient.world.node) as tables:
        tables.commit([delete_table(SOURCES_NFT_TABLE)])
        await patient.until(lambda: SOURCES_NFT_TABLE in tables.tables())

    assert _count("nftables") == before + 1
    assert patient.is_talking()


async def test_a_replaced_route_is_put_back(patient: Patient) -> None:
    before = _count("route")
    table = patient.rule_of_eni().table
    (ours,) = [route for route in routes(patient.kernel) if route.table == table]
    astray = Route(
        to=DEFAULT,
        link=ours.link,
        gateway=IPv4Address("10.0.3.99"),
        table=table,
        is_onlink=True,
    )

    patient.kernel.do([add_route(astray)])
    await patient.until(lambda: ours in routes(patient.kernel))

    assert [route for route in routes(patient.kernel) if route.table == table] == [ours]
    assert _count("route") == before + 1
    assert patient.is_talking()


@pytest.mark.parametrize("whose", ["eni", "pod"])
async def test_a_link_that_was_set_down_is_up_again_with_its_routes(
    patient: Patient, whose: str
) -> None:
    before = _count("link")
    name = "eth1" if whose == "eni" else patient.wired.host_ifname
    ours = [route for route in routes(patient.kernel) if route.protocol == PROTOCOL]

    patient.kernel.do([set_down(index_of(patient.kernel, name))])
    await patient.until(lambda: set(ours) <= set(routes(patient.kernel)))

    link = link_by_name(patient.kernel, name)
    assert link is not None
    assert link.is_up
    assert _count("link") == before + 1
    assert patient.is_talking()


async def test_a_deleted_link_is_made_anew_with_all_that_went_with_it(patient: Patient) -> None:
    before, name = _count("pod"), patient.wired.host_ifname

    patient.kernel.do([delete_link(index_of(patient.kernel, name))])
    await patient.until(lambda: link_by_name(patient.kernel, name) is not None)

    assert patient.is_talking()
    assert _count("pod") == before + 1
    assert patient.world.agent.repairer.repair() == 0
    assert await patient.world.wire("c1", patient.pod) == patient.wired


async def test_a_link_is_not_made_anew_in_a_namespace_that_took_its_sandboxes_place(
    patient: Patient, tmp_path: Path
) -> None:
    path, other = tmp_path / "sandbox", patient.world.make_netns()
    pin(patient.pod, path)
    await patient.world.wire("c1", patient.pod, path=str(path))
    unpin(path)
    pin(other, path)

    try:
        patient.kernel.do([delete_link(index_of(patient.kernel, patient.wired.host_ifname))])
        patient.world.agent.repairer.repair()
        with Conversation(other) as stranger:
            assert link_by_name(stranger, "eth0") is None
    finally:
        unpin(path)


@pytest.mark.parametrize(("whose", "wrong"), [("eni", "1"), ("pod", "0")])
async def test_a_changed_rp_filter_is_changed_back(
    patient: Patient, whose: str, wrong: str
) -> None:
    before = _count("sysctl")
    name = "eth1" if whose == "eni" else patient.wired.host_ifname
    path = f"ipv4/conf/{name}/rp_filter"
    right = read_sysctl(path)

    write_sysctl(path, wrong)
    await patient.until(lambda: read_sysctl(path) == right)

    assert _count("sysctl") == before + 1


@pytest.mark.parametrize("whose", ["eni", "pod"])
async def test_a_changed_mac_is_changed_back(patient: Patient, whose: str) -> None:
    before = _count("mac")
    name = "eth1" if whose == "eni" else patient.wired.host_ifname
    right = ENI_MAC if whose == "eni" else patient.wired.host_mac

    patient.kernel.do([set_mac(index_of(patient.kernel, name), "02:00:00:00:00:99")])
    await patient.until(lambda: _mac(patient.kernel, name) == right)

    assert _count("mac") == before + 1
    assert patient.is_talking()


async def test_a_pods_ipv6_stays_off_at_the_hosts_end(patient: Patient) -> None:
    path = f"ipv6/conf/{patient.wired.host_ifname}/disable_ipv6"

    write_sysctl(path, "0")
    await patient.until(lambda: read_sysctl(path) == "1")

    assert patient.is_talking()


async def test_a_table_that_others_make_a_blackhole_is_left_to_them(patient: Patient) -> None:
    before = _count("table")
    table = patient.rule_of_eni().table
    blackhole = Route(to=DEFAULT, table=table, is_dropping=True)

    patient.kernel.do([add_route(blackhole)])  # in the place of ours
    await patient.until(lambda: patient.rule_of_eni().table == table + TABLE_STEP)

    assert patient.is_talking()
    assert _blackholes(patient.kernel, table) == 1
    assert _count("table") == before + 1
    assert REGISTRY.get_sample_value(DISPLACED) == 1


async def test_a_table_that_was_a_blackhole_before_is_never_used(
    boot: Boot, inside: tuple[int, int]
) -> None:
    """Others claim 2004: with a base below it, an ENI's table would be theirs."""
    with Conversation(inside[0]) as kernel:
        base = 2004 - index_of(kernel, "eth1")
        kernel.do([add_route(Route(to=DEFAULT, table=2004, is_dropping=True))])
        kernel.do([add_rule(Rule(priority=9, table=2004, mark=0x200, mask=0xF00))])

        world = await boot(table_base=base)
        await world.agent.orders.offer(offer(*STOCK))
        wired, pod = await world.add("c1")

        assert exchange(pod, world.vpc, OUTSIDE) == str(wired.address)
        assert _blackholes(kernel, 2004) == 1
        assert Rule(priority=9, table=2004, mark=0x200, mask=0xF00) in [
            rule for rule in rules(kernel) if rule.protocol != PROTOCOL
        ]
    assert REGISTRY.get_sample_value(DISPLACED) == 1


def _mac(kernel: Conversation, name: str) -> str:
    link = link_by_name(kernel, name)
    assert link is not None
    return link.mac


def _blackholes(kernel: Conversation, table: int) -> int:
    found = [read_route(message) for message in dump_routes(kernel)]
    return sum(1 for each in found if each and each.table == table and each.is_dropping)


def _count(kind: str) -> float:
    return REGISTRY.get_sample_value(REPAIRS, {"kind": kind}) or 0.0
