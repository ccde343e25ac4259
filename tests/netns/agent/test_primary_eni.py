"""What leaves by the primary ENI: with masquerade it has the node's source."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from tests.netns.agent.conftest import Boot
from tests.support.agent_world import (
    GATEWAY,
    NODE_ADDRESS,
    OUTSIDE,
    STOCK,
    exchange,
    offer,
)

pytestmark = pytest.mark.kernel


async def test_with_masquerade_the_world_sees_the_node_and_the_vpc_sees_the_pod(
    boot: Boot,
) -> None:
    world = await boot(masquerade=True, non_masquerade_cidrs=(IPv4Network("10.0.0.0/8"),))
    await world.agent.orders.offer(offer(*STOCK))
    wired, pod = await world.add("c1")

    assert exchange(pod, world.vpc, OUTSIDE) == str(NODE_ADDRESS)
    assert exchange(pod, world.vpc, GATEWAY) == str(wired.address)
    assert world.agent.repairer.repair() == 0
