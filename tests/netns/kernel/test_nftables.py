"""Tables of our own, changed all or nothing, and what their rules do to packets."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from shared.kernel import nft_sets
from shared.kernel import nftables as nft
from shared.kernel.conversation import Conversation, NetlinkError
from shared.kernel.links import set_up
from shared.kernel.netns import socket_in

pytestmark = pytest.mark.kernel

LOOPBACK = 1
HERE = IPv4Address("127.0.0.1")
ANYWHERE = ("127.0.0.1", 0)


@pytest.fixture
def tables(netns: int, conversation: Conversation) -> Iterator[nft.Nftables]:
    conversation.do([set_up(LOOPBACK)])
    with nft.Nftables(netns) as tables:
        yield tables


def source_check(*allowed: bytes) -> list[nft.Change]:
    """Only these (link, address) pairs may come in."""
    return [
        nft.add_table("ours"),
        nft.add_chain("ours", "in", hook=nft.HOOK_PREROUTING, priority=nft.PRIORITY_MANGLE),
        nft_sets.add_set("ours", "allowed", key_bytes=8),
        *nft_sets.add_elements("ours", "allowed", allowed),
        nft.add_rule(
            "ours",
            "in",
            nft.load_iif(8),
            nft.load_source(9),
            nft_sets.not_in_set("allowed"),
            nft.counter(),
            nft.drop(),
        ),
    ]


def arrives(netns: int) -> bool:
    """Whether a datagram from the loopback address gets through."""
    receiver = socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM)
    sender = socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind(ANYWHERE)
        receiver.settimeout(0.2)
        sender.sendto(b"knock", receiver.getsockname())
        try:
            return receiver.recv(16) == b"knock"
        except TimeoutError:
            return False


def test_a_source_that_is_not_in_the_set_is_dropped_and_counted(
    tables: nft.Nftables, netns: int
) -> None:
    tables.commit(source_check())

    assert not arrives(netns)
    assert tables.packets("ours", "in") == [1]


def test_a_source_in_the_set_gets_through_until_it_is_taken_out(
    tables: nft.Nftables, netns: int
) -> None:
    key = nft_sets.port_and_address(LOOPBACK, HERE)
    tables.commit(source_check(key))

    arrived_before = arrives(netns)
    tables.commit(nft_sets.delete_elements("ours", "allowed", [key]))

    assert arrived_before
    assert not arrives(netns)


def test_a_map_tells_what_is_in_it_and_which_chain_it_leads_to(
    tables: nft.Nftables, netns: int
) -> None:
    tables.commit(
        [
            nft.add_table("ours"),
            nft.add_chain("ours", "in", hook=nft.HOOK_PREROUTING, priority=0),
            nft.add_bare_chain("ours", "dropping"),
            nft.add_rule("ours", "dropping", nft.counter(), nft.drop()),
            nft_sets.add_chain_map("ours", "from", key_bytes=4),
            nft.add_rule("ours", "in", nft.load_source(), nft_sets.go_by_map("from")),
        ]
    )
    many = {HERE.packed: "dropping"} | {
        (HERE + number).packed: "dropping" for number in range(1, 1000)
    }
    arrived_before = arrives(netns)

    tables.commit(nft_sets.add_to_map("ours", "from", many))

    found = [nft_sets.read_map(message) for message in tables.elements("ours", "from")]
    assert dict(element for part in found for element in part) == many
    assert arrived_before
    assert not arrives(netns)
    assert tables.packets("ours", "dropping") == [1]
    assert sorted(tables.ruled_chains("ours")) == ["dropping", "in"]


def test_a_transaction_with_one_refusal_changes_nothing(tables: nft.Nftables) -> None:
    with pytest.raises(NetlinkError) as refused:
        tables.commit([nft.add_table("first"), nft.add_chain("none", "in", hook=0, priority=0)])

    assert refused.value.errno == errno.ENOENT
    assert tables.tables() == []


def test_deleting_a_table_leaves_the_others(tables: nft.Nftables) -> None:
    tables.commit([nft.add_table("ours"), nft.add_table("theirs")])

    tables.commit([nft.delete_table("ours")])

    assert tables.tables() == ["theirs"]
