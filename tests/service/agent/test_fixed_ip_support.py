"""A cluster without fixed IPs, as the runtime of a node hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.node_agent.cni.codes import CniCode, code_of
from shared.errors import FixedIpNotSupported
from tests.service.agent.conftest import Node, StandIn
from tests.support.agent_world import STOCK, write_pod

POOL = STOCK[:3]


async def test_a_cluster_without_fixed_ips_is_told_to_the_runtime_by_its_own_code(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    stand_in.refusal = FixedIpNotSupported("enabled without fixed IPs; use Immediate")

    with pytest.raises(FixedIpNotSupported, match="use Immediate") as refused:
        await node.add("c1", write_pod(tmp_path, "db-0", "uid-1", policy="Never"), "uid-1")
    while node.agent.ledger.claims:
        assert await node.agent.fixed.settled.wait(5)

    assert code_of(refused.value) is CniCode.FIXED_IP_NOT_SUPPORTED
    assert len(stand_in.acquires) == 1, "it is not asked again"
    assert node.agent.heartbeat.counts().idle == len(POOL)
