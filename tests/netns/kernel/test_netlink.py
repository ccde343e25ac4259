"""Links, addresses, routes, rules and neighbours, against the real kernel."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from shared.kernel.addresses import LinkAddress, add_address, delete_address, link_addresses
from shared.kernel.conversation import Conversation, NetlinkError
from shared.kernel.links import (
    VethEnd,
    add_veth,
    delete_link,
    link_by_mac,
    link_by_name,
    links,
    move,
    set_mtu,
    set_up,
    settle_carrier,
)
from shared.kernel.neighbours import Neighbour, add_neighbour, delete_neighbour, neighbours
from shared.kernel.netns import socket_in
from shared.kernel.routes import (
    Route,
    Rule,
    add_route,
    add_rule,
    delete_route,
    delete_rule,
    routes,
    rules,
)
from tests.netns.conftest import MakeNetns

pytestmark = pytest.mark.kernel

OUR_MARK = 77
ADDRESS = IPv4Interface("10.1.0.5/32")
PAIR = (
    VethEnd(name="host0", mac="02:00:00:00:00:01", index=100),
    VethEnd(name="eth0", mac="02:00:00:00:00:02", index=200),
)


@pytest.fixture
def pair(conversation: Conversation) -> int:
    """A veth pair in one namespace, up; the index of its first end."""
    conversation.do([add_veth(*PAIR, mtu=1400), set_up(100), set_up(200)])
    return 100


def test_a_pair_is_made_as_named_in_one_message(conversation: Conversation, pair: int) -> None:
    link = link_by_name(conversation, "host0")

    assert link is not None
    assert (link.index, link.mac, link.mtu, link.peer_index) == (
        100,
        "02:00:00:00:00:01",
        1400,
        200,
    )


def test_a_peer_is_made_inside_another_namespace(
    conversation: Conversation, make_netns: MakeNetns
) -> None:
    pod = make_netns()

    conversation.do(
        [add_veth(PAIR[0], VethEnd(name="eth0", mac=PAIR[1].mac, netns=pod), mtu=1500)]
    )

    with Conversation(pod) as inside:
        assert link_by_mac(inside, "02:00:00:00:00:02") is not None
    assert link_by_name(conversation, "eth0") is None


def test_a_link_moves_to_another_namespace_under_a_new_name(
    conversation: Conversation, pair: int, make_netns: MakeNetns
) -> None:
    other = make_netns()

    conversation.do([move(pair, other, name="moved")])

    with Conversation(other) as inside:
        assert link_by_name(inside, "moved") is not None
    assert link_by_name(conversation, "host0") is None


def test_a_link_can_send_as_soon_as_its_carrier_is_settled(
    conversation: Conversation, netns: int
) -> None:
    conversation.do([add_veth(*PAIR, mtu=1500), set_up(100)])

    with socket_in(netns, socket.AF_INET, socket.SOCK_DGRAM) as probe:
        alone = settle_carrier(probe, "host0")
        conversation.do([set_up(200)])
        together = settle_carrier(probe, "host0")

    assert (alone, together) == (False, True)


def test_deleting_one_end_deletes_both_and_may_be_repeated(
    conversation: Conversation, pair: int
) -> None:
    conversation.do([delete_link(pair), delete_link(pair)])

    assert [link.name for link in links(conversation)] == ["lo"]


def test_a_refusal_names_what_was_refused(conversation: Conversation) -> None:
    with pytest.raises(NetlinkError, match="set link 999 mtu 1500: No such device") as refused:
        conversation.do([set_mtu(999, 1500)])

    assert refused.value.errno == errno.ENODEV


def test_a_batch_answers_for_each_of_its_messages(
    conversation: Conversation, pair: int
) -> None:
    answers = conversation.try_all([set_mtu(999, 1500), set_mtu(pair, 1300)])

    link = link_by_name(conversation, "host0")
    assert answers == [errno.ENODEV, 0]
    assert link is not None
    assert link.mtu == 1300


def test_an_address_is_added_and_deleted_repeatably(
    conversation: Conversation, pair: int
) -> None:
    conversation.do([add_address(pair, ADDRESS), add_address(pair, ADDRESS)])
    added = link_addresses(conversation)
    conversation.do([delete_address(pair, ADDRESS), delete_address(pair, ADDRESS)])

    assert LinkAddress(pair, ADDRESS) in added
    assert LinkAddress(pair, ADDRESS) not in link_addresses(conversation)


@pytest.mark.parametrize(
    "route",
    [
        Route(to=IPv4Network("10.1.0.9/32"), link=100, protocol=OUR_MARK),
        Route(
            to=IPv4Network("0.0.0.0/0"),
            link=100,
            gateway=IPv4Address("10.9.0.1"),
            table=4100,
            is_onlink=True,
            protocol=OUR_MARK,
        ),
        Route(to=IPv4Network("10.8.0.0/16"), protocol=OUR_MARK),
    ],
    ids=["to a link", "by a gateway on the link", "unreachable"],
)
def test_a_route_reads_back_as_it_was_made(
    conversation: Conversation, pair: int, route: Route
) -> None:
    # A gateway is refused on a link that has no address at all, "onlink" or not.
    conversation.do([add_address(pair, ADDRESS)])

    conversation.do([add_route(route), add_route(route)])
    made = routes(conversation)
    conversation.do([delete_route(route), delete_route(route)])

    assert route in made
    assert route not in routes(conversation)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(priority=512, table=254, to=IPv4Network("10.1.0.5/32"), protocol=OUR_MARK),
        Rule(priority=1536, table=4100, source=IPv4Network("10.1.0.5/32"), protocol=OUR_MARK),
        Rule(priority=1024, table=254, mark=0x80, mask=0x80, protocol=OUR_MARK),
    ],
    ids=["to", "from", "mark"],
)
def test_a_rule_reads_back_as_it_was_made(conversation: Conversation, rule: Rule) -> None:
    conversation.do([add_rule(rule), add_rule(rule)])
    made = rules(conversation)
    conversation.do([delete_rule(rule), delete_rule(rule)])

    assert made.count(rule) == 1
    assert rule not in rules(conversation)


def test_a_neighbour_is_permanent_until_it_is_deleted(
    conversation: Conversation, pair: int
) -> None:
    wanted = Neighbour(link=pair, address=IPv4Address("169.254.1.1"), mac="02:00:00:00:00:09")

    conversation.do([add_neighbour(wanted)])
    made = neighbours(conversation)
    conversation.do([delete_neighbour(pair, wanted.address)] * 2)

    assert wanted in made
    assert neighbours(conversation) == []
