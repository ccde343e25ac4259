"""Connections of an address are forgotten, and those of others are not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface

import pytest

from shared.kernel import nftables as nft
from shared.kernel.addresses import add_address
from shared.kernel.conntrack import NETFILTER, connections_of, forget_connections
from shared.kernel.conversation import Conversation
from shared.kernel.links import set_up
from shared.kernel.netns import socket_in

pytestmark = pytest.mark.kernel

LOOPBACK = 1
ONE, TWO = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2")


@pytest.fixture
def table(netns: int, conversation: Conversation) -> Iterator[Conversation]:
    """Two addresses, and a rule that has the kernel track what goes between them."""
    conversation.do(
        [
            set_up(LOOPBACK),
            *(add_address(LOOPBACK, IPv4Interface(f"{it}/32")) for it in (ONE, TWO)),
        ]
    )
    with nft.Nftables(netns) as tables:
        try:
            tables.commit(
                [
                    nft.add_table("ours"),
                    nft.add_chain(
                        "ours", "in", hook=nft.HOOK_PREROUTING, priority=nft.PRIORITY_MANGLE
                    ),
                    nft.add_rule("ours", "in", nft.load_connection_mark(), nft.counter()),
                ]
            )
            with Conversation(netns, family=NETFILTER) as conntrack:
                connections_of(conntrack, ONE)
                yield conntrack
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ENOENT):
                pytest.skip(f"the kernel tracks no connections: {error}")
            raise


def knock(netns: int, source: IPv4Address, target: IPv4Address, port: int) -> None:
    with (
        socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind((str(target), port))
        receiver.settimeout(2)
        sender.bind((str(source), port + 1))
        sender.sendto(b"knock", (str(target), port))
        assert receiver.recv(16) == b"knock"


def test_every_connection_of_an_address_goes_and_others_stay(
    netns: int, table: Conversation
) -> None:
    here = IPv4Address("127.0.0.1")
    knock(netns, ONE, TWO, 7001)
    knock(netns, TWO, ONE, 7101)
    knock(netns, here, TWO, 7201)
    before = connections_of(table, ONE), connections_of(table, TWO)

    count = forget_connections(table, [ONE])

    assert before == (2, 3)
    assert count == 2
    assert (connections_of(table, ONE), connections_of(table, TWO)) == (0, 1)


def test_an_address_without_connections_is_no_error(table: Conversation) -> None:
    assert forget_connections(table, [IPv4Address("10.9.0.77")]) == 0
