"""The folder of who uses what is lost while pods live: the kernel tells it again."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from berth.programs import python_module
from services.node_agent.adapters.book import FileBook
from services.node_agent.domain.attachments import Attachment, ClaimPhase
from services.node_agent.domain.ports import NodeRecord
from services.node_agent.domain.requests import Check
from services.node_agent.orders import eni_of
from shared.addresses import AddressState
from shared.ids import UNKNOWN_NETWORK, EniId, PodName
from shared.kernel.conversation import Conversation
from shared.kernel.links import delete_link, link_by_name, set_alias
from shared.kernel.netns import pin, unpin
from shared.messages.leases import LEASE_ACQUIRE, Acquired, AcquireRequest
from shared.messages.nodes import NODE_REGISTER, Registered, RegisterRequest
from tests.netns.agent.conftest import Boot, NodeWorld
from tests.support.agent_world import (
    ENI,
    NODE,
    OUTSIDE,
    PRIMARY,
    STOCK,
    Peers,
    exchange,
    key,
    offer,
    soon,
    write_pod,
)

pytestmark = pytest.mark.kernel

EPOCH = datetime.fromtimestamp(0, UTC)

Lose = Callable[[], None]


@pytest.fixture
def lose(tmp_path: Path) -> Lose:
    return lambda: shutil.rmtree(tmp_path / "run")


@pytest.fixture
def lessor(peers: Peers) -> None:
    """Makes each candidate the lease of its pod."""

    async def register(request: RegisterRequest) -> Registered:
        return Registered(incarnation=request.last_incarnation + 1)

    async def acquire(request: AcquireRequest) -> Acquired:
        assert request.candidate is not None, "there is stock"
        return Acquired(
            address=request.candidate.address,
            eni=request.candidate.eni,
            subnet=request.candidate.subnet,
            generation=1 << 40 | 7,
            candidate_taken=True,
        )

    peers.handlers = {NODE_REGISTER.name: register, LEASE_ACQUIRE.name: acquire}


async def test_pods_live_on_as_if_nothing_had_been_lost(
    boot: Boot, lose: Lose, lessor: None, tmp_path: Path
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    plain, plain_netns = await world.add("c1")
    name = write_pod(tmp_path, "web-0", "uid-1")
    named, named_netns = await world.add("c2", name, "uid-1")
    name = write_pod(tmp_path, "db-0", "uid-2", policy="Never")
    fixed, fixed_netns = await world.add("c3", name, "uid-2")
    before = attachments(world)

    lose()
    world = await boot()

    assert attachments(world) == before
    for container, netns, wired in (
        ("c1", plain_netns, plain),
        ("c2", named_netns, named),
        ("c3", fixed_netns, fixed),
    ):
        assert exchange(netns, world.vpc, OUTSIDE) == str(wired.address)
        await world.agent.service.check(Check(key=key(container), netns_fd=netns, address=None))
        assert await world.wire(container, netns) == wired
    assert in_use(world) == {
        plain.address: AddressState.BOUND_IMMEDIATE,
        named.address: AddressState.BOUND_IMMEDIATE,
        fixed.address: AddressState.BOUND_FIXED,
    }


async def test_no_address_of_a_living_pod_is_given_to_another(boot: Boot, lose: Lose) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    living = {(await world.add(f"c{number}"))[0].address for number in range(4)}

    lose()
    world = await boot()
    world.agent.ledger.rest(soon(1000), timedelta(0))
    new = {(await world.add(f"d{number}"))[0].address for number in range(len(STOCK) - 4)}

    assert living | new == set(STOCK)
    assert world.agent.heartbeat.counts().idle == 0


async def test_what_may_have_rested_in_the_lost_book_rests_anew(boot: Boot, lose: Lose) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    wired, _ = await world.add("c1")

    lose()
    for _ in range(2):  # and is not forgotten by a second start
        world = await boot()

        resting = {x for x, state in states(world).items() if state is AddressState.COOLING}
        assert resting == set(STOCK) - {wired.address}
    world.agent.ledger.rest(soon(1000), timedelta(0))
    world = await boot()
    assert world.agent.heartbeat.counts().idle == len(STOCK) - 1


async def test_after_a_reboot_nothing_need_rest(boot: Boot, lose: Lose, tmp_path: Path) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))

    lose()
    (tmp_path / "state" / "boot").write_text("another-boot")
    world = await boot()

    assert world.agent.heartbeat.counts().idle == len(STOCK)


async def test_a_lost_pod_is_deleted_as_any_other(
    boot: Boot, lose: Lose, lessor: None, tmp_path: Path
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    plain, _ = await world.add("c1")
    name = write_pod(tmp_path, "db-0", "uid-2", policy="Never")
    fixed, _ = await world.add("c3", name, "uid-2")
    lose()
    world = await boot()

    await world.agent.service.delete(key("c1"))
    await world.agent.service.delete(key("c3"))

    assert len(world.agent.ledger.attachments) == 0
    assert states(world)[plain.address] is AddressState.COOLING
    assert world.agent.ledger.claims[key("c3")].phase is ClaimPhase.RELEASING
    assert states(world)[fixed.address] is AddressState.BOUND_FIXED


@pytest.mark.parametrize("how", ["torn", "absent"])
async def test_a_single_page_is_made_up_for(boot: Boot, how: str, tmp_path: Path) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    await world.add("c1")
    wired, netns = await world.add("c2")
    before = attachments(world)
    page = tmp_path / "run" / "book" / "attachments" / key("c2").digest
    if how == "torn":
        page.write_bytes(page.read_bytes()[:-40])
    else:
        page.unlink()

    world = await boot()

    assert attachments(world) == before
    assert exchange(netns, world.vpc, OUTSIDE) == str(wired.address)


async def test_with_the_state_folder_lost_too_links_tell_it_all(
    boot: Boot, lose: Lose, lessor: None, tmp_path: Path
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    plain, netns = await world.add("c1")
    name = write_pod(tmp_path, "db-0", "uid-2", policy="Never")
    fixed, fixed_netns = await world.add("c3", name, "uid-2")
    before = attachments(world)
    claim = world.agent.ledger.claims[key("c3")]

    lose()
    shutil.rmtree(tmp_path / "state")
    world = await boot()
    offered = await world.agent.orders.offer(offer(*STOCK))

    assert attachments(world) == before
    assert set(offered.refused) == {fixed.address}
    rebuilt = world.agent.ledger.claims[key("c3")]
    assert (rebuilt.phase, rebuilt.address, rebuilt.generation, rebuilt.identity) == (
        ClaimPhase.BOUND,
        claim.address,
        claim.generation,
        claim.identity,
    )
    assert exchange(netns, world.vpc, OUTSIDE) == str(plain.address)
    assert exchange(fixed_netns, world.vpc, OUTSIDE) == str(fixed.address)


async def test_a_wire_that_nothing_tells_of_is_kept_until_its_namespace_ends(
    boot: Boot, lose: Lose
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    wired, netns = await world.add("c1")
    unlabel(world, wired.host_ifname)

    lose()
    world = await boot()

    assert exchange(netns, world.vpc, OUTSIDE) == str(wired.address)
    (unknown,) = world.agent.ledger.attachments
    assert unknown.key.network == UNKNOWN_NETWORK
    assert in_use(world) == {wired.address: AddressState.BOUND_IMMEDIATE}
    await world.agent.service.delete(key("c1"))  # nobody's: a success, and nothing happens
    await world.agent.service.collect("berth", frozenset())
    assert exchange(netns, world.vpc, OUTSIDE) == str(wired.address)
    with Conversation(world.node) as conversation:  # as when the namespace ends
        link = link_by_name(conversation, wired.host_ifname)
        assert link is not None
        conversation.do([delete_link(link.index)])
    world.agent.repairer.repair()
    assert states(world)[wired.address] is AddressState.COOLING


async def test_the_state_folder_tells_whose_a_fixed_address_is_without_a_label(
    boot: Boot, lose: Lose, lessor: None, tmp_path: Path
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    name = write_pod(tmp_path, "db-0", "uid-2", policy="Never")
    fixed, netns = await world.add("c3", name, "uid-2")
    unlabel(world, fixed.host_ifname)

    lose()
    world = await boot()

    held = world.agent.ledger.attachments.get(key("c3"))
    assert held is not None
    assert (held.pod, held.generation) == (name, 1 << 40 | 7)
    assert exchange(netns, world.vpc, OUTSIDE) == str(fixed.address)
    await world.agent.service.delete(key("c3"))
    assert world.agent.ledger.claims[key("c3")].phase is ClaimPhase.RELEASING


async def test_a_pod_whose_sandbox_went_meanwhile_is_not_kept(
    boot: Boot, lose: Lose, tmp_path: Path
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    path = tmp_path / "sandbox"
    netns = world.make_netns()
    pin(netns, path)
    wired = await world.wire("c1", netns, path=str(path))

    lose()
    unpin(path)
    world = await boot()

    assert len(world.agent.ledger.attachments) == 0
    assert states(world)[wired.address] is AddressState.COOLING


async def test_an_address_that_another_pods_lease_has_by_now_keeps_no_old_wire(
    boot: Boot, lose: Lose, lessor: None, tmp_path: Path
) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    name = write_pod(tmp_path, "db-0", "uid-2", policy="Never")
    fixed, _ = await world.add("c3", name, "uid-2")
    ledger = world.agent.ledger
    bound = ledger.claims[key("c3")]
    later = replace(bound, key=key("c4"), generation=bound.generation)
    ledger.fix(later, is_candidate_taken=False, now=soon(0))

    lose()
    world = await boot()

    assert len(world.agent.ledger.attachments) == 0
    with Conversation(world.node) as conversation:
        assert link_by_name(conversation, fixed.host_ifname) is None
    assert states(world)[fixed.address] is AddressState.BOUND_FIXED


async def test_links_of_an_agent_that_wrote_no_labels_get_theirs(boot: Boot) -> None:
    world = await boot()
    await world.agent.orders.offer(offer(*STOCK))
    wired, _ = await world.add("c1", PodName("shop", "web-0"))
    with Conversation(world.node) as conversation:
        link = link_by_name(conversation, wired.host_ifname)
        assert link is not None
        label = link.alias
    unlabel(world, wired.host_ifname)

    world.agent.repairer.repair()

    with Conversation(world.node) as conversation:
        assert link_by_name(conversation, wired.host_ifname) == link
    assert "k=shop/web-0" in label


def attachments(world: NodeWorld) -> set[Attachment]:
    """All that is known of them, but for since when."""
    return {replace(each, since=EPOCH) for each in world.agent.ledger.attachments}


def states(world: NodeWorld) -> dict[IPv4Address, AddressState]:
    return {each.address: each.state for each in world.agent.ledger.stock}


def in_use(world: NodeWorld) -> dict[IPv4Address, AddressState]:
    bound = (AddressState.BOUND_IMMEDIATE, AddressState.BOUND_FIXED)
    return {address: state for address, state in states(world).items() if state in bound}


def unlabel(world: NodeWorld, host_ifname: str) -> None:
    with Conversation(world.node) as conversation:
        link = link_by_name(conversation, host_ifname)
        assert link is not None
        conversation.do([set_alias(link.index, "")])


@pytest.mark.long
async def test_an_agent_whose_run_folder_goes_while_it_serves_ends_and_says_so(
    inside: tuple[int, int], lose: Lose, tmp_path: Path
) -> None:
    book = FileBook(run_dir=tmp_path / "run", state_dir=tmp_path / "state")
    owned = tuple((address, EniId(ENI.eni)) for address in STOCK)
    book.save_node(NodeRecord(enis=(eni_of(PRIMARY), eni_of(ENI)), owned=owned))
    book.close()  # with stock of its own an agent serves before there is a bus
    process = await asyncio.create_subprocess_exec(
        *python_module("services.node_agent.main"),
        env=os.environ
        | {
            "BERTH_NODE": NODE,
            "BERTH_INSTANCE": "ins-a",
            "BERTH_NATS_URL": "nats://127.0.0.1:1",
            "BERTH_RUN_DIR": str(tmp_path / "run"),
            "BERTH_STATE_DIR": str(tmp_path / "state"),
            "BERTH_POD_SOURCE": "none",
            "BERTH_SPOOL_INTERVAL_S": "0.2",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            while not (tmp_path / "run" / "agent.sock").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # an agent without a bus tells nobody that it serves

            lose()

            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1
    assert "the socket is gone from it: start the agent again" in said.decode()
