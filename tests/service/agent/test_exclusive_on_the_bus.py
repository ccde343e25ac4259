"""What an agent says and is told of ENIs that one pod has as a whole."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from services.node_agent.domain.ports import Link
from shared.addresses import AddressState
from shared.errors import InvalidInput
from shared.ids import PodName
from shared.messages.base import EniFields
from shared.messages.nodes import STOCK_OFFER, STOCK_RECALL, OfferedAddress, StockRecall
from tests.service.agent.conftest import Node, StandIn
from tests.support.agent_world import ENI, NODE, PRIMARY, STOCK, SUBNET, offer, soon, write_pod

WHOLE_MAC = "20:90:6f:00:00:03"
WHOLE = EniFields(
    eni="eni-whole",
    subnet="subnet-pods",
    mac=WHOLE_MAC,
    primary_address=IPv4Address("10.0.3.40"),
    subnet_cidr=SUBNET,
    gateway=SUBNET[1],
    is_exclusive=True,
)


async def give(node: Node, *shared: IPv4Address, sequence: int = 1) -> None:
    """The shared ENI with addresses, and a whole one whose link has been plugged in."""
    node.kernel.plug_in(Link(name="eth2", index=4, mac=WHOLE_MAC, mtu=1500, is_up=False))
    order = offer(*shared, sequence=sequence, enis=(PRIMARY, ENI, WHOLE))
    own = OfferedAddress(address=WHOLE.primary_address, eni=WHOLE.eni)
    whole = order.model_copy(update={"addresses": [*order.addresses, own]})
    accepted = await node.calls.call(STOCK_OFFER, whole, NODE)
    assert set(accepted.accepted) == {*shared, WHOLE.primary_address}


def own_pod(tmp_path: Path, name: str, uid: str, *, policy: str | None = None) -> PodName:
    return write_pod(tmp_path, name, uid, policy=policy, network="tke-direct-eni")


async def test_a_pod_that_waits_for_an_eni_of_its_own_is_counted_apart(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*STOCK[:3])
    adding = asyncio.create_task(node.add("c1", own_pod(tmp_path, "web-0", "uid-1"), "uid-1"))
    await stand_in.until(lambda: any(want.exclusive.waiting == 1 for want in stand_in.wants))

    await give(node, *STOCK[:3], sequence=2)
    wired = await adding

    assert wired.address == WHOLE.primary_address
    assert (wired.gateway, wired.prefix_length) == (WHOLE.gateway, 24)
    assert all(want.counts.waiting == 0 for want in stand_in.wants)
    await stand_in.until(lambda: stand_in.wants[-1].exclusive.bound_immediate == 1)
    assert stand_in.wants[-1].counts.idle == 3
    assert WHOLE.eni in stand_in.wants[-1].enis, "known, though its link is in a sandbox"


async def test_a_fixed_pod_names_an_eni_only_once_it_is_known_to_have_no_lease(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await give(node, *STOCK[:3])

    wired = await node.add("c1", own_pod(tmp_path, "db-0", "uid-1", policy="Never"), "uid-1")

    first, second = stand_in.acquires
    assert first.candidate is None
    assert second.candidate is not None
    assert second.candidate.address == wired.address == WHOLE.primary_address
    assert first.is_exclusive
    assert second.is_exclusive


async def test_a_fixed_pod_without_a_lease_and_without_an_eni_asks_for_one(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*STOCK[:3])
    pod = own_pod(tmp_path, "db-0", "uid-1", policy="Never")
    adding = asyncio.create_task(node.add("c1", pod, "uid-1"))
    await stand_in.until(lambda: any(want.exclusive.waiting == 1 for want in stand_in.wants))

    await give(node, *STOCK[:3], sequence=2)

    assert (await adding).address == WHOLE.primary_address


@pytest.mark.parametrize("is_exclusive", [True, False])
async def test_a_recall_takes_only_of_the_kind_it_is_meant_for(
    node: Node, is_exclusive: bool
) -> None:
    await give(node, *STOCK[:3])

    order = StockRecall(
        deadline=soon(),
        node=NODE,
        term=1,
        sequence=2,
        recall="r1",
        count=10,
        is_exclusive=is_exclusive,
    )
    struck = await node.calls.call(STOCK_RECALL, order, NODE)

    whole = {WHOLE.primary_address}
    taken = {each.address for each in struck.addresses}
    assert taken == (whole if is_exclusive else set(STOCK[:3]))
    left = {each.address: each.state for each in node.agent.ledger.stock}
    assert left == dict.fromkeys(({*STOCK[:3]} | whole) - taken, AddressState.STOCK)


async def test_a_pod_that_asks_for_both_networks_is_refused_with_what_is_allowed(
    node: Node, tmp_path: Path
) -> None:
    await give(node, *STOCK[:3])
    both = "tke-route-eni,tke-direct-eni"
    pod = write_pod(tmp_path, "web-0", "uid-1", network=both)

    with pytest.raises(
        InvalidInput, match=f"'{both}' is not allowed; allowed: tke-route-eni or"
    ):
        await node.add("c1", pod, "uid-1")

    assert node.agent.heartbeat.counts().idle == 3
