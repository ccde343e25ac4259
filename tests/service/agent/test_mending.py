"""What others found amiss is put right by the agent as far as its own book allows."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from shared.messages.base import AttachmentFields, IdentityFields
from shared.messages.nodes import AGENT_MEND, Mended, MendRequest, OfferedAddress, UnusedLease
from tests.service.agent.conftest import Boot, Node, StandIn
from tests.support.agent_world import ENI, NODE, STOCK, soon, write_pod

POOL = STOCK[:3]
ELSEWHERE = IPv4Address("10.0.3.77")


def lost(*addresses: IPv4Address, eni: str = ENI.eni) -> tuple[OfferedAddress, ...]:
    return tuple(OfferedAddress(address=each, eni=eni) for each in addresses)


def unused(address: IPv4Address, container_id: str = "gone") -> UnusedLease:
    return UnusedLease(
        identity=IdentityFields(namespace="shop", name="db-7", network="berth"),
        attachment=AttachmentFields(network="berth", container_id=container_id, ifname="eth0"),
        pod_uid="uid-7",
        address=address,
        eni=ENI.eni,
        generation=41,
    )


async def mend(
    node: Node,
    lost: tuple[OfferedAddress, ...] = (),
    unused: tuple[UnusedLease, ...] = (),
) -> Mended:
    request = MendRequest(deadline=soon(), node=NODE, lost=lost, unused=unused)
    return await node.calls.call(AGENT_MEND, request, NODE)


async def test_an_idle_address_that_the_cloud_lost_is_struck_off_and_one_in_use_is_not(
    boot: Boot, tmp_path: Path
) -> None:
    node = await boot()
    await node.offer(*POOL)
    wired = await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")
    idle = [each for each in POOL if each != wired.address]

    mended = await mend(node, lost(wired.address, idle[0], ELSEWHERE))

    assert mended.struck == 1
    assert {each.address for each in node.agent.ledger.stock} == {wired.address, idle[1]}
    node = await boot()  # and on disk
    assert {each.address for each in node.agent.ledger.stock} == {wired.address, idle[1]}


async def test_an_address_of_another_eni_than_named_stays(node: Node) -> None:
    await node.offer(*POOL)

    assert (await mend(node, lost(POOL[0], eni="eni-other"))).struck == 0


async def test_a_bind_that_no_pod_here_has_is_released_until_the_allocator_knows(
    node: Node, stand_in: StandIn
) -> None:
    await node.offer(*POOL)

    mended = await mend(node, unused=(unused(ELSEWHERE), unused(POOL[0], "too")))

    assert mended.released == 2
    await stand_in.until(lambda: len(stand_in.releases) == 2)
    said = {each.attachment.container_id: each for each in stand_in.releases}
    assert (said["gone"].generation, said["gone"].identity.name) == (41, "db-7")
    while node.agent.ledger.claims:
        assert await node.agent.fixed.settled.wait(5)
    assert {each.address for each in node.agent.ledger.stock} == set(POOL[1:])


async def test_a_bind_that_a_pod_here_has_is_not_released(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    fixed = await node.add("c1", write_pod(tmp_path, "db-0", "u1", policy="Never"), "u1")
    free = await node.add("c2", write_pod(tmp_path, "web-0", "u2"), "u2")

    asked = (unused(fixed.address), unused(free.address), unused(ELSEWHERE, "c1"))
    mended = await mend(node, unused=asked)

    assert mended.released == 0
    assert stand_in.releases == []
