"""Marks of sources as the kernel holds them, over changes of the agent's and of others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address

import pytest

from services.node_agent.adapters.sources import SourceTable
from services.node_agent.domain.wiring import SOURCES_NFT_TABLE
from shared.kernel import nftables as nft
from shared.kernel.netns import in_netns
from shared.kernel.nft_sets import delete_elements

pytestmark = pytest.mark.kernel

HERE = IPv4Address("10.0.3.20")
THERE = IPv4Address("10.0.3.21")


@pytest.fixture
def node(netns: int) -> Iterator[int]:
    with in_netns(netns):
        yield netns


@pytest.fixture
def sources(node: int) -> Iterator[SourceTable]:
    with closing(SourceTable()) as table:
        yield table


def test_an_address_that_came_to_another_eni_has_its_mark(sources: SourceTable) -> None:
    sources.give({HERE: 1, THERE: 1})

    sources.give({HERE: 2})

    assert sources.read() == {HERE: 2, THERE: 1}
    assert not sources.keep({HERE: 2, THERE: 1})


def test_more_addresses_than_a_message_takes(sources: SourceTable) -> None:
    marks = {HERE + number: 1 + number % 3 for number in range(3000)}

    sources.give(marks)

    assert sources.read() == marks


def test_the_next_agent_goes_on_with_what_is_there(sources: SourceTable) -> None:
    sources.give({HERE: 1})

    with closing(SourceTable()) as restarted:
        restarted.give({THERE: 2})

        assert restarted.read() == {HERE: 1, THERE: 2}
        assert not restarted.keep({HERE: 1, THERE: 2})


def test_a_mark_that_went_meanwhile_does_not_refuse_a_change(
    sources: SourceTable, node: int
) -> None:
    sources.give({HERE: 1, THERE: 1})
    with nft.Nftables(node) as others:
        others.commit(delete_elements(SOURCES_NFT_TABLE, "sources", [HERE.packed]))

    sources.give({HERE: 2})

    assert sources.read() == {HERE: 2, THERE: 1}


@pytest.mark.parametrize("chain", ["enter", "mark-1"])
def test_a_table_that_others_changed_is_drift_and_made_anew(
    sources: SourceTable, node: int, chain: str
) -> None:
    sources.give({HERE: 1})
    with nft.Nftables(node) as others:
        others.commit([nft.add_rule(SOURCES_NFT_TABLE, chain, nft.counter())])

    assert sources.keep({HERE: 1})
    assert not sources.keep({HERE: 1})
    assert sources.read() == {HERE: 1}


def test_nothing_is_made_where_nothing_is_marked(sources: SourceTable, node: int) -> None:
    assert not sources.keep({})

    with nft.Nftables(node) as tables:
        assert tables.tables() == []
