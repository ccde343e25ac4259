"""Where the link of an ENI is, and in what state it arrives."""

from __future__ import annotations

import asyncio
import os
from ipaddress import IPv4Address, IPv4Interface

import pytest

from shared.errors import Unavailable
from shared.ids import InstanceId
from shared.kernel.addresses import link_addresses
from shared.kernel.changes import Changes, Kind
from shared.kernel.conversation import Conversation
from shared.kernel.links import move, rename
from shared.kernel.netns import new_netns
from shared.kernel.routes import DEFAULT, routes
from tests.support.vpcs import Vpc, eni

pytestmark = pytest.mark.kernel


async def test_the_primary_link_is_up_with_address_and_default_route(vpc: Vpc) -> None:
    link = vpc.links("ins-1")["eth0"]

    with Conversation(vpc.netns("ins-1")) as kernel:
        addresses = {
            each.address for each in link_addresses(kernel) if each.index == link.index
        }
        defaults = [route.gateway for route in routes(kernel) if route.to == DEFAULT]
    assert link.is_up
    assert (link.mac, link.mtu) == ("20:90:6f:00:00:01", 1500)
    assert addresses == {IPv4Interface("10.0.1.11/24")}
    assert defaults == [IPv4Address("10.0.1.1")]


async def test_a_secondary_link_arrives_down_and_bare(vpc: Vpc) -> None:
    await vpc.fabric.set_eni(eni(4, "ins-1", 1))

    link = vpc.links("ins-1")["eth1"]
    with Conversation(vpc.netns("ins-1")) as kernel:
        addresses = [each for each in link_addresses(kernel) if each.index == link.index]
    assert (link.mac, link.is_up, addresses) == ("20:90:6f:00:00:04", False, [])


async def test_a_link_follows_its_eni(vpc: Vpc) -> None:
    await vpc.fabric.set_eni(eni(4, "ins-1", 1))
    await vpc.fabric.set_eni(eni(4, "ins-2", 1))

    assert set(vpc.links("ins-1")) == {"eth0"}
    assert vpc.links("ins-2")["eth1"].mac == "20:90:6f:00:00:04"

    await vpc.fabric.set_eni(eni(4, None, None))

    assert set(vpc.links("ins-2")) == {"eth0"}


async def test_a_removed_eni_takes_its_link_out_of_the_pod_it_is_in(vpc: Vpc) -> None:
    await vpc.fabric.set_eni(eni(4, "ins-1", 1))
    pod = new_netns()
    with Conversation(vpc.netns("ins-1")) as node, Conversation(pod) as inside:
        node.do([move(vpc.links("ins-1")["eth1"].index, pod)])

        await vpc.fabric.remove_eni(eni(4, "ins-1", 1).eni)

        left = {route.link for route in routes(inside)}
    os.close(pod)
    assert left == set()
    assert set(vpc.links("ins-1")) == {"eth0"}


async def test_a_link_that_died_with_its_pod_comes_back_down(vpc: Vpc) -> None:
    await vpc.fabric.set_eni(eni(4, "ins-1", 1))
    pod = new_netns()
    with Conversation(vpc.netns("ins-1")) as node:
        node.do([move(vpc.links("ins-1")["eth1"].index, pod)])
    news = Changes(Kind.LINK, netns=vpc.netns("ins-1"))
    try:
        os.close(pod)  # the last that held the namespace

        async with asyncio.timeout(10):
            while "eth1" not in vpc.links("ins-1"):
                await news.changed.wait()
                news.changed.clear()
    finally:
        news.close()

    link = vpc.links("ins-1")["eth1"]
    assert (link.mac, link.is_up) == ("20:90:6f:00:00:04", False)
    assert vpc.reaches("ins-1", IPv4Address("10.0.1.12"))  # the others never noticed


async def test_a_name_that_is_taken_is_left_alone(vpc: Vpc) -> None:
    await vpc.fabric.set_eni(eni(4, "ins-1", 1))
    with Conversation(vpc.netns("ins-1")) as node:
        node.do([rename(vpc.links("ins-1")["eth1"].index, "eth2")])

    await vpc.fabric.set_eni(eni(5, "ins-1", 2))

    macs = {link.mac for link in vpc.links("ins-1").values()}
    assert vpc.links("ins-1")["eth2"].mac == "20:90:6f:00:00:04"
    assert "20:90:6f:00:00:05" in macs


async def test_repeating_a_call_changes_nothing(vpc: Vpc) -> None:
    before = vpc.links("ins-1")

    await vpc.fabric.set_instance(InstanceId("ins-1"))
    await vpc.fabric.set_eni(eni(1, "ins-1", 0))
    await vpc.fabric.remove_eni(eni(9, None, None).eni)
    await vpc.fabric.remove_instance(InstanceId("ins-9"))

    assert vpc.links("ins-1") == before


async def test_what_was_never_made_is_named(vpc: Vpc) -> None:
    with pytest.raises(Unavailable, match="instance 'ins-9' has not been made"):
        await vpc.fabric.set_eni(eni(4, "ins-9", 1))

    assert vpc.reaches("ins-1", IPv4Address("10.0.1.12"))
