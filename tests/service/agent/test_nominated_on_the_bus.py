"""A pod that names subnets takes an address of those, waits for one, and is told why not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from shared.errors import InvalidInput, StockEmpty
from shared.messages.leases import Acquired
from shared.messages.nodes import WaitingIn
from tests.service.agent.conftest import Node, StandIn
from tests.support.agent_world import ENI, STOCK, write_pod

POOL = STOCK[:3]
HERE, ELSEWHERE = ENI.subnet, "subnet-elsewhere"


async def test_a_pod_that_names_the_subnet_of_the_stock_is_served(
    node: Node, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "web-0", "uid-1", subnets=f"{ELSEWHERE},{HERE}")

    wired = await node.add("c1", pod, "uid-1")

    assert wired.address in POOL


@pytest.mark.parametrize("policy", ["Immediate", "Never"])
async def test_a_pod_that_names_another_subnet_waits_asks_for_it_and_is_told_why_not(
    node: Node, stand_in: StandIn, tmp_path: Path, policy: str
) -> None:
    await node.offer(*POOL)
    stand_in.problem = f"{ELSEWHERE} is not a container subnet"
    pod = write_pod(tmp_path, "web-0", "uid-1", policy=policy, subnets=ELSEWHERE)

    with pytest.raises(StockEmpty) as refused:
        await node.add("c1", pod, "uid-1", seconds=3.0)

    asked = [each for want in stand_in.wants for each in want.waiting_in]
    assert asked[0] == WaitingIn(subnets=[ELSEWHERE], count=1, idle=0)
    assert all(want.counts.waiting == 0 for want in stand_in.wants)
    assert f"no idle address of {ELSEWHERE}" in str(refused.value)
    assert "is not a container subnet" in str(refused.value)
    assert node.agent.heartbeat.counts().idle == len(POOL)


async def test_a_lease_that_the_pod_has_wins_over_the_subnets_it_names_and_says_so(
    node: Node, stand_in: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await node.offer(*POOL)
    stand_in.leases["web-0"] = Acquired(
        address=STOCK[7],
        eni=ENI.eni,
        subnet=HERE,
        generation=1 << 40,
        candidate_taken=False,
        note="the lease of web-0 wins",
    )
    pod = write_pod(tmp_path, "web-0", "uid-1", policy="Never", subnets=ELSEWHERE)

    with caplog.at_level(logging.WARNING):
        wired = await node.add("c1", pod, "uid-1")

    assert wired.address == STOCK[7]
    assert stand_in.acquires[-1].nominated_subnets == (ELSEWHERE,)
    [said] = [it for it in caplog.records if it.getMessage() == "not as the pod asked"]
    assert said.__dict__["note"] == "the lease of web-0 wins"


async def test_a_pod_that_is_to_have_an_eni_of_its_own_may_not_name_subnets(
    node: Node, tmp_path: Path
) -> None:
    pod = write_pod(tmp_path, "web-0", "uid-1", network="tke-direct-eni", subnets=HERE)

    with pytest.raises(InvalidInput, match=r"nominated-eni-subnets.*only with .*tke-route-eni"):
        await node.add("c1", pod, "uid-1")
