"""Whose a wire without a page is: the state folder's word goes before the link's."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.composition import Agent
from services.node_agent.domain.attachments import Attachment, ClaimPhase
from services.node_agent.domain.labels import label_of
from services.node_agent.domain.ports import Link, NodeRecord
from services.node_agent.domain.wiring import Route
from services.node_agent.orders import eni_of
from shared.addresses import AddressState
from shared.ids import EniId, Generation, PodName
from tests.support.agent_world import ENI, ENI_MAC, Peers, make_agent
from tests.support.memory_kernel import MemoryKernel
from tests.unit.agent.test_book import ATTACHMENT, CLAIM, COOLING, open_book

EID = EniId(ENI.eni)
ADDRESS = IPv4Address("10.0.3.20")
WIRED = replace(
    ATTACHMENT,
    address=ADDRESS,
    eni=EID,
    host_ifname="eni0123456789a",
    host_mac="ae:be:00:00:00:01",
    netns_path="/run/netns/of-a-pod",
)


@pytest.fixture
def kernel() -> MemoryKernel:
    return MemoryKernel(Link(name="eth1", index=3, mac=ENI_MAC, mtu=1500, is_up=True))


@pytest.fixture
def book(tmp_path: Path) -> FileBook:
    """It owns one address."""
    book = open_book(tmp_path)
    book.save_node(NodeRecord(enis=(eni_of(ENI),), owned=((ADDRESS, EID),)))
    return book


def plug(kernel: MemoryKernel, wired: Attachment, label: str) -> None:
    kernel.plug_in(
        Link(
            name=wired.host_ifname,
            index=9,
            mac=wired.host_mac,
            mtu=wired.mtu,
            is_up=True,
            label=label,
        )
    )
    here = IPv4Network(wired.address)
    kernel.add(Route(table=4000, destination=here, link=wired.host_ifname))


def started(folder: Path, book: FileBook, kernel: MemoryKernel) -> tuple[Agent, int]:
    agent = make_agent(folder, bus=Peers(), book=book, kernel=kernel)
    return agent, agent.adoption.adopt()


def state(agent: Agent) -> AddressState | None:
    held = agent.ledger.stock.get(ADDRESS)
    return None if held is None else held.state


def test_an_address_that_is_promised_is_not_taken_back(
    tmp_path: Path, book: FileBook, kernel: MemoryKernel
) -> None:
    assert CLAIM.candidate is not None
    book.save_claim(
        replace(CLAIM, candidate=replace(CLAIM.candidate, address=ADDRESS, eni=EID))
    )
    plug(kernel, WIRED, label_of(WIRED))

    agent, count = started(tmp_path, book, kernel)

    assert count == 0
    assert state(agent) is AddressState.PROMISED


@pytest.mark.parametrize("phase", [ClaimPhase.RELEASING, ClaimPhase.BOUND])
def test_what_a_lease_has_left_is_not_taken_back(
    tmp_path: Path, book: FileBook, kernel: MemoryKernel, phase: ClaimPhase
) -> None:
    """Released, or bound by another sandbox than the link's."""
    bound = replace(
        CLAIM,
        phase=phase,
        candidate=None,
        address=ADDRESS,
        eni=EID,
        generation=Generation(7),
    )
    book.save_claim(bound)
    leased = replace(WIRED, generation=Generation(6))
    assert phase is ClaimPhase.RELEASING or leased.key != bound.key
    if phase is ClaimPhase.RELEASING:
        leased = replace(leased, key=bound.key)
    plug(kernel, leased, label_of(leased))

    agent, count = started(tmp_path, book, kernel)

    assert count == 0
    assert state(agent) is AddressState.BOUND_FIXED


def test_a_wire_goes_before_the_page_of_an_address_that_rests(
    tmp_path: Path, book: FileBook, kernel: MemoryKernel
) -> None:
    rests = replace(COOLING.holding, address=ADDRESS, eni=EID)
    book.save_cooling(replace(COOLING, holding=rests))
    plug(kernel, WIRED, label_of(WIRED))

    for adopted in (1, 0):  # by the second start it is in the book
        agent, count = started(tmp_path, book, kernel)

        assert count == adopted
        assert state(agent) is AddressState.BOUND_IMMEDIATE


def test_an_address_of_no_known_eni_is_not_kept(
    tmp_path: Path, book: FileBook, kernel: MemoryKernel
) -> None:
    book.save_node(NodeRecord())
    plug(kernel, WIRED, "")

    agent, count = started(tmp_path, book, kernel)

    assert count == 0
    assert state(agent) is None


def test_a_leases_address_is_nobodys_stock_where_nothing_tells_whose_it_is(
    tmp_path: Path, book: FileBook, kernel: MemoryKernel
) -> None:
    long = replace(WIRED, pod=PodName("n" * 63, "p" * 253), generation=Generation(7))
    plug(kernel, long, label_of(long))

    agent, count = started(tmp_path, book, kernel)

    assert count == 0
    assert state(agent) is None
    assert agent.ledger.node.owned == ()


def test_a_link_of_the_same_name_that_the_book_knows_is_left_to_the_repair(
    tmp_path: Path, book: FileBook, kernel: MemoryKernel
) -> None:
    book.save_attachment(WIRED)
    plug(kernel, replace(WIRED, host_mac="ae:be:00:00:00:02"), label_of(WIRED))

    agent, count = started(tmp_path, book, kernel)

    assert count == 0
    assert set(agent.ledger.attachments) == {WIRED}
