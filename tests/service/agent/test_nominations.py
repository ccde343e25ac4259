"""Pods that name their address, as their node's agent sees to it."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from shared.addresses import AddressState
from shared.annotations import DeletePolicy
from shared.errors import InvalidInput, LeaseInUse, Unavailable
from shared.messages.leases import Acquired
from tests.service.agent.conftest import Node, StandIn
from tests.support.agent_world import ENI, STOCK, key, write_pod

POOL = STOCK[:3]
ELSEWHERE = STOCK[9]


def acquired(address: IPv4Address) -> Acquired:
    return Acquired(
        address=address,
        eni=ENI.eni,
        subnet=ENI.subnet,
        generation=1 << 40,
        candidate_taken=False,
    )


async def test_an_address_of_the_nodes_own_stock_is_used_directly(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)

    wired = await node.add(
        "c1", write_pod(tmp_path, "db-0", "uid-1", nominated=str(POOL[2])), "uid-1"
    )

    (asked,) = stand_in.acquires
    assert wired.address == POOL[2] == asked.nominated
    assert asked.candidate is not None
    assert asked.candidate.address == POOL[2]
    assert asked.policy is DeletePolicy.IMMEDIATE


async def test_an_address_that_the_node_has_not_is_asked_for_and_released_with_the_pod(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    stand_in.leases["db-0"] = acquired(ELSEWHERE)

    pod = write_pod(tmp_path, "db-0", "uid-1", nominated=str(ELSEWHERE))
    wired = await node.add("c1", pod, "uid-1")
    await node.agent.service.delete(key("c1"))
    await stand_in.until(lambda: len(stand_in.releases) == 1)

    (asked,) = stand_in.acquires
    assert (asked.nominated, asked.candidate) == (ELSEWHERE, None)
    assert wired.address == ELSEWHERE
    assert node.agent.heartbeat.counts().idle == len(POOL), "its stock was not touched"


async def test_an_address_that_another_pod_of_the_node_has_is_refused_with_that_pod(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    other = await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")

    pod = write_pod(tmp_path, "db-0", "uid-2", nominated=str(other.address))
    with pytest.raises(LeaseInUse, match=r"is bound_immediate on this node .* shop/web-0"):
        await node.add("c2", pod, "uid-2")

    (asked,) = stand_in.acquires
    assert asked.nominated is None, "only whether there is a lease is asked"


async def test_an_offer_of_an_address_that_is_asked_for_is_kept_for_who_asks(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    stand_in.leases["db-0"] = acquired(ELSEWHERE)
    stand_in.lose_answers = 1
    pod = write_pod(tmp_path, "db-0", "uid-1", nominated=str(ELSEWHERE))
    with pytest.raises(Unavailable):
        await node.add("c1", pod, "uid-1", seconds=0.5)

    await node.offer(*POOL, ELSEWHERE, sequence=3)

    held = node.agent.ledger.stock.get(ELSEWHERE)
    assert held is not None
    assert held.state is AddressState.PROMISED


@pytest.mark.parametrize(
    ("annotation", "allowed"),
    [
        pytest.param("10.0.3", "one IPv4 address", id="no-address"),
        pytest.param("fd00::9", "no IPv6", id="ipv6"),
    ],
)
async def test_what_is_no_address_is_refused_before_anybody_is_asked(
    node: Node, stand_in: StandIn, tmp_path: Path, annotation: str, allowed: str
) -> None:
    await node.offer(*POOL)

    pod = write_pod(tmp_path, "db-0", "uid-1", nominated=annotation)
    with pytest.raises(InvalidInput, match=allowed):
        await node.add("c1", pod, "uid-1")

    assert stand_in.acquires == []


async def test_a_pod_with_a_controller_and_one_with_its_own_eni_name_no_address(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)

    owned = write_pod(tmp_path, "web-1", "uid-1", nominated=str(ELSEWHERE), replicas=2)
    with pytest.raises(InvalidInput, match=r"made by ReplicaSet web: .* without a controller"):
        await node.add("c1", owned, "uid-1")
    whole = write_pod(
        tmp_path, "db-0", "uid-2", nominated=str(ELSEWHERE), network="tke-direct-eni"
    )
    with pytest.raises(InvalidInput, match=r"nominated-vpc-ip: .* only with"):
        await node.add("c2", whole, "uid-2")

    assert stand_in.acquires == []
