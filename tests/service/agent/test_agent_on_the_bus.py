"""The agent among its peers: what it serves alone, what it asks for, what it may not give."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from services.node_agent import fixed
from services.node_agent.domain.devices import Capacity
from services.node_agent.domain.ports import Link
from shared.addresses import AddressState
from shared.errors import (
    BerthError,
    Busy,
    HolderAlive,
    PodUnknown,
    Stale,
    StockEmpty,
    SubnetFull,
    Unavailable,
)
from shared.messages import leases
from shared.messages.base import IdentityFields, WorkloadFields
from shared.messages.nodes import (
    AGENT_INVENTORY,
    AGENT_MEND,
    STOCK_OFFER,
    InventoryRequest,
    MendRequest,
    NodeCapacity,
)
from tests.service.agent.conftest import Boot, Node, StandIn
from tests.support.agent_world import (
    ENI,
    ENI_MAC,
    NODE,
    PRIMARY,
    STOCK,
    key,
    offer,
    soon,
    write_pod,
)
from tests.support.servers import NatsServer

POOL = STOCK[:3]


async def test_an_immediate_pod_is_served_with_the_bus_down(
    node: Node, nats_server: NatsServer, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    nats_server.freeze()

    wired = await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")

    assert wired.address in POOL
    await node.agent.service.delete(key("c1"))
    nats_server.thaw()


async def test_a_pod_that_is_not_known_is_not_guessed(node: Node, tmp_path: Path) -> None:
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "web-0", "uid-new")

    with pytest.raises(PodUnknown):
        await node.add("c1", pod, "uid-old")

    assert node.agent.heartbeat.counts().idle == len(POOL)


async def test_the_capacity_the_node_is_told_is_kept_for_kubelet(
    boot: Boot, stand_in: StandIn
) -> None:
    stand_in.capacity = NodeCapacity(
        addresses_max=30, addresses_free=20, enis_max=3, enis_free=1
    )
    node = await boot()
    await stand_in.until(lambda: bool(stand_in.wants))

    await node.agent.heartbeat.beat()

    told = node.agent.ledger.capacity
    assert told == Capacity(addresses_max=30, addresses_free=20, enis_max=3, enis_free=1)


async def test_a_person_has_the_kernel_put_right_and_everything_told_again(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    wired = await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")
    await stand_in.until(lambda: bool(stand_in.reports))
    node.kernel.rules.clear()
    reports = len(stand_in.reports)
    look = InventoryRequest(deadline=soon(), node=NODE, with_kernel=True)
    before = await node.calls.call(AGENT_INVENTORY, look, NODE)

    mended = await node.calls.call(AGENT_MEND, MendRequest(deadline=soon(), node=NODE), NODE)

    after = await node.calls.call(AGENT_INVENTORY, look, NODE)
    wires = [
        {each.address: each.is_wired for each in seen.addresses}[wired.address]
        for seen in (before, after)
    ]
    assert wires == [False, True]
    assert mended.repaired >= 2
    await stand_in.until(lambda: any(it.is_whole for it in stand_in.reports[reports:]))


async def test_an_add_without_stock_waits_for_the_offer_it_asks_for(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer()
    pod = write_pod(tmp_path, "web-0", "uid-1")
    adding = asyncio.create_task(node.add("c1", pod, "uid-1"))
    await stand_in.until(lambda: any(want.counts.waiting == 1 for want in stand_in.wants))

    await node.offer(POOL[0], sequence=2)

    assert (await adding).address == POOL[0]


async def test_an_add_that_waited_in_vain_says_so_and_is_told_of(
    node: Node, tmp_path: Path
) -> None:
    await node.offer()

    with pytest.raises(StockEmpty):
        await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1", seconds=0.5)

    assert node.agent.heartbeat.counts().waiting == 1


async def test_a_fixed_pod_keeps_its_candidate_and_is_released_after_its_end(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)

    wired = await node.add("c1", write_pod(tmp_path, "db-0", "uid-1", policy="Never"), "uid-1")
    await node.agent.service.delete(key("c1"))
    await stand_in.until(lambda: len(stand_in.releases) == 1)

    assert stand_in.releases[0].generation == stand_in.leases["db-0"].generation
    assert stand_in.leases["db-0"].address == wired.address
    while node.agent.ledger.claims:
        assert await node.agent.fixed.settled.wait(5)
    assert node.agent.ledger.stock.get(wired.address) is None
    assert {rule.priority for rule in node.kernel.rules} == {512, 1024, 1536}


async def test_a_fixed_pod_that_comes_back_has_its_address_and_the_candidate_stays_stock(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    first = await node.add("c1", pod, "uid-1")
    await node.agent.service.delete(key("c1"))

    again = await node.add("c2", write_pod(tmp_path, "db-0", "uid-2", policy="Never"), "uid-2")

    assert again.address == first.address
    assert [request.generation for request in stand_in.releases] == [
        stand_in.leases["db-0"].generation
    ]
    assert node.agent.heartbeat.counts().idle == len(POOL) - 1


async def test_a_lost_answer_keeps_the_candidate_promised_until_the_same_key_is_answered(
    node: Node, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _short_patience(monkeypatch)
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    stand_in.lose_answers = 3

    with pytest.raises(Unavailable):
        await node.add("c1", pod, "uid-1", seconds=0.5)
    counts = node.agent.heartbeat.counts()
    assert (counts.promised, counts.idle) == (1, len(POOL) - 1)
    struck = await node.recall("r1", 10)
    wired = await node.add("c1", pod, "uid-1")

    assert wired.address not in {each.address for each in struck.addresses}
    assert len(struck.addresses) == len(POOL) - 1
    assert {request.attachment.container_id for request in stand_in.acquires} == {"c1"}
    assert len({request.fence.sequence for request in stand_in.acquires}) == 1


async def test_after_kill_9_the_same_question_is_asked_again_and_then_released(
    boot: Boot, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _short_patience(monkeypatch)
    node = await boot()
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    stand_in.lose_answers = 1_000
    with pytest.raises(Unavailable):
        await node.add("c1", pod, "uid-1", seconds=0.5)

    stand_in.lose_answers = 0
    node = await boot()
    await stand_in.until(lambda: len(stand_in.releases) == 1)

    assert stand_in.releases[0].attachment.container_id == "c1"
    assert stand_in.acquires[-1].candidate == stand_in.acquires[0].candidate
    assert stand_in.acquires[-1].fence.incarnation == 2


async def test_a_refused_candidate_is_stock_again_once_the_store_has_heard(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    stand_in.refusal = SubnetFull("no room")

    with pytest.raises(SubnetFull):
        await node.add("c1", write_pod(tmp_path, "db-0", "uid-1", policy="Never"), "uid-1")
    asked = stand_in.acquires[0].fence.sequence
    while node.agent.ledger.claims:
        assert await node.agent.fixed.settled.wait(5)

    assert stand_in.reports[-1].fence.lowest_unsettled > asked
    assert node.agent.heartbeat.counts().idle == len(POOL)


async def test_a_candidate_that_became_a_lease_unheard_is_not_given_to_another_pod(
    boot: Boot, stand_in: StandIn, tmp_path: Path
) -> None:
    node = await boot()
    await node.offer(*POOL)
    stand_in.lose_answers = 1_000  # bound, and nobody hears of it
    with pytest.raises(Unavailable):
        await node.add(
            "c1", write_pod(tmp_path, "db-0", "uid-1", policy="Never"), "uid-1", seconds=0.5
        )
    stand_in.lose_answers = 0
    stand_in.refusal = HolderAlive("its next pod has it, elsewhere")

    node = await boot()
    while node.agent.ledger.claims:
        assert await node.agent.fixed.settled.wait(5)

    taken = stand_in.leases["db-0"].address
    assert node.agent.ledger.stock.get(taken) is None
    assert node.agent.heartbeat.counts().idle == len(POOL) - 1


async def test_a_later_sandbox_keeps_the_lease_whatever_is_answered_after_it(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    stand_in.lose_answers = 1_000
    for sandbox in ("c1", "c2"):
        with pytest.raises(BerthError):
            await node.add(sandbox, pod, "uid-1", seconds=0.5)
        await node.agent.service.delete(key(sandbox))
    stand_in.lose_answers = 0

    wired = await node.add("c3", pod, "uid-1")

    asked = [each.attachment.container_id for each in stand_in.acquires]
    assert asked.index("c3") > max(n for n, each in enumerate(asked) if each != "c3")
    assert "c1" in [each.attachment.container_id for each in stand_in.releases]
    [claim] = node.agent.ledger.claims.values()
    assert (claim.key.container_id, claim.address) == ("c3", wired.address)


async def test_a_recall_takes_only_idle_addresses_and_answers_the_same_again(
    boot: Boot, tmp_path: Path
) -> None:
    node = await boot()
    await node.offer(*POOL)
    wired = await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")

    first = await node.recall("r1", 10)
    node = await boot()
    again = await node.recall("r1", 10, sequence=3)

    assert again == first
    assert {each.address for each in first.addresses} == set(POOL) - {wired.address}
    assert [each.address for each in node.agent.ledger.stock] == [wired.address]


async def test_an_address_that_was_moved_here_waits_for_the_link_of_its_eni(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    moved_eni = ENI.model_copy(update={"eni": "eni-new", "mac": "20:90:6f:00:00:03"})
    address = IPv4Address("10.0.3.99")
    stand_in.leases["db-0"] = leases.Acquired(
        address=address,
        eni="eni-new",
        subnet="subnet-pods",
        generation=7,
        candidate_taken=False,
        moved_eni=moved_eni,
    )
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    adding = asyncio.create_task(node.add("c1", pod, "uid-1"))
    await stand_in.until(lambda: len(stand_in.acquires) == 1)

    node.kernel.plug_in(Link(name="eth2", index=4, mac=moved_eni.mac, mtu=1500, is_up=True))

    assert (await adding).address == address
    (rule,) = [r for r in node.kernel.rules if r.priority == 1536 and r.table == 4004]
    assert node.kernel.source_marks[address] == rule.mark
    assert node.agent.heartbeat.counts().idle == len(POOL)


async def test_a_del_that_comes_before_the_answer_is_followed_by_a_release(
    node: Node, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _short_patience(monkeypatch)
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    stand_in.lose_answers = 2
    adding = asyncio.create_task(node.add("c1", pod, "uid-1"))
    await stand_in.until(lambda: len(stand_in.acquires) == 1)

    await node.agent.service.delete(key("c1"))
    await stand_in.until(lambda: len(stand_in.releases) == 1)

    with pytest.raises(Busy):
        await adding
    assert len(node.agent.ledger.attachments) == 0


async def test_a_fixed_lease_waits_for_registration_and_stock_does_not(
    node: Node, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    row = await node.agent.registration.wait_row(5.0)
    node.agent.registration.lose(row)

    wired = await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")
    fixed_pod = write_pod(tmp_path, "db-0", "uid-2", policy="Never")

    assert wired.address in POOL
    assert (await node.add("c2", fixed_pod, "uid-2")).address in POOL
    assert node.agent.registration.row is not row


async def test_an_order_of_an_older_term_is_refused(node: Node) -> None:
    await node.recall("r1", 1, sequence=9)

    with pytest.raises(Stale):
        await node.offer(*POOL, sequence=8)

    assert not node.agent.ledger.stock


async def test_an_offer_repeated_is_accepted_and_a_fixed_address_is_refused(
    node: Node, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "db-0", "uid-1", policy="Never")
    wired = await node.add("c1", pod, "uid-1")

    answer = await node.offer(*POOL, sequence=2)

    assert answer.refused == (wired.address,)
    assert set(answer.accepted) == set(POOL) - {wired.address}


async def test_an_eni_that_the_cloud_took_away_carries_nobody_any_more(
    node: Node, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")
    node.kernel.remove_links([("eth1", ENI_MAC)])

    order = offer(sequence=2, enis=(PRIMARY,))
    await node.calls.call(STOCK_OFFER, order, NODE)

    assert not node.agent.ledger.stock
    assert len(node.agent.ledger.attachments) == 0
    assert {rule.priority for rule in node.kernel.rules} == {512, 1024}


async def test_what_the_cloud_has_no_more_is_no_stock_and_a_pod_that_has_one_keeps_it(
    boot: Boot, tmp_path: Path
) -> None:
    node = await boot()
    await node.offer(*POOL)
    wired = await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")
    idle = min(set(POOL) - {wired.address})
    order = offer(sequence=2).model_copy(update={"lost": (idle, wired.address)})

    await node.calls.call(STOCK_OFFER, order, NODE)

    left = {each.address for each in node.agent.ledger.stock}
    assert left == set(POOL) - {idle}
    node = await boot()
    assert {each.address for each in node.agent.ledger.stock} == left


async def test_after_a_reboot_stock_is_served_again(
    boot: Boot, stand_in: StandIn, tmp_path: Path
) -> None:
    node = await boot()
    await node.offer(*POOL)
    await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")
    await node.add("c2", write_pod(tmp_path, "db-0", "uid-2", policy="Never"), "uid-2")

    for folder in ("attachments", "cooling", "pods"):
        for page in (tmp_path / "run" / "book" / folder).iterdir():
            page.unlink()
    node.kernel.reboot()
    node = await boot()

    states = sorted(each.state for each in node.agent.ledger.stock)
    assert states == [AddressState.BOUND_FIXED, AddressState.STOCK, AddressState.STOCK]
    await stand_in.until(lambda: len(stand_in.releases) == 1)


async def test_what_the_allocator_hears_is_who_has_what(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    wired = await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")

    def told() -> dict[IPv4Address, tuple[str, str | None]]:
        return {
            each.address: (each.state, each.identity.name if each.identity else None)
            for report in stand_in.reports
            for each in report.addresses
        }

    # It may be told as idle first: an agent reports its stock too.
    await stand_in.until(lambda: told().get(wired.address, ("stock", None))[0] != "stock")

    assert told()[wired.address] == ("bound_immediate", "web-0")


async def test_a_wire_that_fails_is_undone(node: Node, tmp_path: Path) -> None:
    await node.offer(*POOL)
    node.kernel.failure = Unavailable("the kernel says no")

    with pytest.raises(Unavailable, match="the kernel says no"):
        await node.add("c1", write_pod(tmp_path, "web-0", "uid-1"), "uid-1")

    assert len(node.agent.ledger.attachments) == 0
    assert node.agent.heartbeat.counts().bound_immediate == 0


def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question is given up after 0.2 s instead of 5, so that it is asked again soon."""
    quick = replace(leases.LEASE_ACQUIRE, timeout_s=0.2)
    monkeypatch.setattr(fixed, "LEASE_ACQUIRE", quick)


async def test_a_pod_of_a_random_name_asks_for_a_slot_and_gives_back_that(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*POOL)
    pod = write_pod(tmp_path, "web-7f-x2", "uid-1", policy="Never", replicas=3)
    slot = IdentityFields(namespace="shop", name="ReplicaSet:web-7f#2", network="berth")
    stand_in.leases["web-7f-x2"] = leases.Acquired(
        address=POOL[0],
        eni="eni-pods",
        subnet="subnet-pods",
        generation=1 << 40 | 1,
        candidate_taken=True,
        identity=slot,
    )

    await node.add("c1", pod, "uid-1")
    await node.agent.service.delete(key("c1"))
    await stand_in.until(lambda: len(stand_in.releases) == 1)

    asked = stand_in.acquires[0]
    assert asked.identity.name == "web-7f-x2"
    assert asked.workload == WorkloadFields(kind="ReplicaSet", name="web-7f")
    assert asked.pool == leases.PoolFields(size=3, subnets=("subnet-pods",))
    assert stand_in.releases[0].identity == slot


async def test_an_answer_that_the_book_had_no_room_for_is_kept_once_it_has(
    node: Node, stand_in: StandIn, tmp_path: Path
) -> None:
    await node.offer(*STOCK[:3])
    stand_in.refusal = Unavailable("busy")
    pod = write_pod(tmp_path, "db-0", "u1", policy="Never")
    adding = asyncio.create_task(node.add("c1", pod, "u1", 2.0))
    await stand_in.until(lambda: bool(stand_in.acquires))
    claims, away = tmp_path / "state" / "claims", tmp_path / "away"

    claims.rename(away)  # as with a full disk, nothing can be written
    stand_in.refusal = None
    with pytest.raises(Unavailable):
        await adding
    away.rename(claims)
    await node.agent.service.delete(key("c1"))

    await stand_in.until(lambda: bool(stand_in.releases))
    assert stand_in.releases[0].identity.name == "db-0"
