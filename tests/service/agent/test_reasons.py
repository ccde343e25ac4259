"""Why a pod has no address yet reaches its ADD, whoever it was that said so."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from services.node_agent import fixed
from services.node_agent.cni.codes import CniCode, code_of
from shared.errors import BerthError, HolderAlive, Moving, StockEmpty, Unavailable
from shared.messages.leases import LEASE_ACQUIRE
from tests.service.agent.conftest import Node, StandIn
from tests.support.agent_world import STOCK, write_pod

EMBARGO = (
    "10.0.3.20 of shop/db-0 is on eni-a, but a call that is still in flight may take it off"
    " there until 03:12:44 UTC: nothing need be done, it is tried again by itself"
)
REASONS = [Unavailable(EMBARGO), HolderAlive("its pod lives on node-b"), Moving("on its way")]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.code)
async def test_an_add_that_waited_in_vain_ends_with_what_it_waited_for(
    node: Node, stand_in: StandIn, tmp_path: Path, reason: BerthError
) -> None:
    await node.offer(*STOCK[:3])
    stand_in.refusal = reason

    with pytest.raises(type(reason)) as refused:
        await node.add("c1", write_pod(tmp_path, "db-0", "u1", policy="Never"), "u1", 1.5)

    assert str(refused.value) == f"{reason}; asking goes on"
    assert code_of(refused.value) is CniCode.TRY_AGAIN_LATER
    (failed,) = node.agent.service._failures
    assert (failed.code, failed.detail) == (reason.code, str(refused.value))


async def test_a_reason_is_not_forgotten_over_the_silence_that_follows(
    node: Node, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed, "LEASE_ACQUIRE", replace(LEASE_ACQUIRE, timeout_s=0.3))
    await node.offer(*STOCK[:3])
    stand_in.refusal = Unavailable(EMBARGO)
    pod = write_pod(tmp_path, "db-0", "u1", policy="Never")
    adding = asyncio.create_task(node.add("c1", pod, "u1", 3.0))
    await stand_in.until(lambda: len(stand_in.acquires) > 1)
    said = len(stand_in.acquires)
    stand_in.refusal, stand_in.lose_answers = None, 1_000

    with pytest.raises(Unavailable, match="until 03:12:44 UTC"):
        await adding

    assert len(stand_in.acquires) > said + 1


async def test_an_add_that_nobody_heard_says_that(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*STOCK[:3])
    stand_in.lose_answers = 1_000

    with pytest.raises(Unavailable, match="no allocator has answered yet"):
        await node.add("c1", write_pod(tmp_path, "db-0", "u1", policy="Never"), "u1", 0.5)


@pytest.mark.parametrize("policy", ["Immediate", "Never"])
async def test_a_pod_without_stock_is_told_why_no_more_comes(
    node: Node, stand_in: StandIn, tmp_path: Path, policy: str
) -> None:
    await node.offer()
    stand_in.problem = "subnet-a is full; 3 addresses here are kept back until 03:12:44 UTC"

    with pytest.raises(StockEmpty, match="3 addresses here are kept back until 03:12:44 UTC"):
        await node.add("c1", write_pod(tmp_path, "db-0", "u1", policy=policy), "u1", 2.0)
