"""Two nodes of a simulated VPC with pods of both modes, wired by agents of their own."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.adapters.exclusive_netlink import ExclusiveNetlink
from services.node_agent.adapters.netlink import NetlinkKernel
from services.node_agent.composition import Agent
from services.node_agent.domain.requests import Add
from services.vpc_simulator.ports import EniPort
from shared.annotations import NetworkMode
from shared.kernel.netns import in_netns, new_netns, pin, unpin
from shared.messages.nodes import OfferedAddress, StockOffer
from shared.runtime.loops import Loops
from tests.support.agent_world import NODE, Peers, key, make_agent, settings, soon
from tests.support.probes import ping
from tests.support.vpcs import SUBNETS, Vpc, eni, fields_of, with_addresses

VPC_CIDR: Final = IPv4Network("10.0.0.0/16")
SERVICES: Final = IPv4Network("172.16.0.0/16")
OUTSIDE: Final = IPv4Address("198.51.100.1")
PLATFORM: Final = IPv4Address("169.254.10.1")  # of the cloud's own services, beyond the ENIs
_PINGS: Final = 5


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody with an address in a namespace."""

    name: str
    netns: int
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Plan:
    """A node's pods: their names and addresses by shared ENI, and names by whole ENI."""

    instance: str
    primary: EniPort
    shared: tuple[tuple[EniPort, dict[str, IPv4Address]], ...]
    whole: tuple[tuple[EniPort, str], ...]


HERE: Final = Plan(
    instance="ins-1",
    primary=eni(1, "ins-1", 0),
    shared=(
        (
            eni(4, "ins-1", 1),
            {"shared": IPv4Address("10.0.1.50"), "same ENI": IPv4Address("10.0.1.51")},
        ),
        (
            eni(5, "ins-1", 2, subnet="subnet-b"),
            {"other ENI": IPv4Address("10.0.2.50")},
        ),
    ),
    whole=((eni(6, "ins-1", 3), "own ENI"), (eni(7, "ins-1", 4), "second own ENI")),
)
THERE: Final = Plan(
    instance="ins-2",
    primary=eni(2, "ins-2", 0),
    shared=((eni(8, "ins-2", 1), {"shared there": IPv4Address("10.0.1.60")}),),
    whole=((eni(9, "ins-2", 2), "own ENI there"),),
)

Wire = Callable[..., Awaitable[dict[str, Party]]]


@pytest.fixture
def sandboxes(tmp_path: Path) -> Iterator[Callable[[str], tuple[int, Path]]]:
    """Namespaces with a path, as a runtime's have."""
    with ExitStack() as made:

        def make(name: str) -> tuple[int, Path]:
            netns, path = new_netns(), tmp_path / "sandboxes" / name.replace(" ", "-")
            pin(netns, path)
            made.callback(unpin, path)
            made.callback(os.close, netns)
            return netns, path

        yield make


@pytest.fixture
def wire(tmp_path: Path, vpc: Vpc, sandboxes: Callable[[str], tuple[int, Path]]) -> Wire:
    """Everybody by name, after both nodes' agents have wired their pods and ended."""

    async def everybody(**changes: Any) -> dict[str, Party]:
        found = [
            Party("node", vpc.netns("ins-1"), HERE.primary.primary_address),
            Party("node there", vpc.netns("ins-2"), THERE.primary.primary_address),
            Party("other subnet", vpc.netns("ins-3"), IPv4Address("10.0.2.13")),
            Party("outside", vpc.netns("outside"), OUTSIDE),
            Party("platform", vpc.netns("ins-3"), PLATFORM),
        ]
        machine = eni(3, "ins-3", 0, subnet="subnet-b")
        await vpc.fabric.set_eni(with_addresses(machine, PLATFORM))
        vpc.configure("ins-3", machine.mac, PLATFORM)
        for plan in (HERE, THERE):
            with in_netns(vpc.netns(plan.instance)):
                found += await _wired(plan, vpc, tmp_path, sandboxes, changes)
        return {each.name: each for each in found}

    return everybody


async def _wired(
    plan: Plan,
    vpc: Vpc,
    tmp_path: Path,
    sandboxes: Callable[[str], tuple[int, Path]],
    changes: dict[str, Any],
) -> list[Party]:
    for port, addresses in plan.shared:
        await vpc.fabric.set_eni(with_addresses(port, *addresses.values()))
    for port, _ in plan.whole:
        await vpc.fabric.set_eni(port)
    folder = tmp_path / plan.instance
    folder.mkdir()
    chosen: dict[str, Any] = {"service_cidrs": (SERVICES,)} | changes
    loops = Loops(random.Random(1))
    with ExitStack() as stack:
        kernel, exclusive = NetlinkKernel(random.Random(plan.instance)), ExclusiveNetlink()
        book = FileBook(run_dir=folder / "run", state_dir=folder / "state")
        for each in (kernel, exclusive, book):
            stack.callback(each.close)
        agent = make_agent(
            folder, bus=Peers(), book=book, kernel=kernel, exclusive_kernel=exclusive, **chosen
        )
        agent.start(loops, settings(folder, **chosen))
        try:
            found = await _with_pods(agent, plan, sandboxes)
            assert agent.repairer.repair() == 0
        finally:
            await loops.stop()
    return found


async def _with_pods(
    agent: Agent, plan: Plan, sandboxes: Callable[[str], tuple[int, Path]]
) -> list[Party]:
    """ENI by ENI, so that each pod has the address that is meant for it."""
    found: list[Party] = []
    enis = [fields_of(plan.primary)]
    orders = [
        *((port, dict(pods), NetworkMode.SHARED) for port, pods in plan.shared),
        *(
            (port, {name: port.primary_address}, NetworkMode.EXCLUSIVE)
            for port, name in plan.whole
        ),
    ]
    for sequence, (port, pods, mode) in enumerate(orders, start=1):
        enis.append(fields_of(port, is_exclusive=mode is NetworkMode.EXCLUSIVE))
        await agent.orders.offer(
            StockOffer(
                deadline=soon(),
                node=NODE,
                term=1,
                sequence=sequence,
                enis=list(enis),
                addresses=[
                    OfferedAddress(address=each, eni=port.eni) for each in pods.values()
                ],
            )
        )
        for name in pods:
            netns, path = sandboxes(name)
            wired = await agent.service.add(
                Add(
                    key=key(name.replace(" ", "-")),
                    pod=None,
                    pod_uid=None,
                    netns_fd=netns,
                    netns_path=str(path),
                    mode=mode,
                    is_pod_known=False,
                    deadline=soon(),
                )
            )
            # Its end of a link that has just come up may drop the first packets.
            _, gateway = SUBNETS[port.subnet]
            assert any(ping(netns, gateway) is not None for _ in range(_PINGS)), name
            found.append(Party(name, netns, wired.address))
    return found
