"""An address works on the ENI it is assigned to, and nowhere else."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from services.vpc_simulator.fabric.network import OUTSIDE_ADDRESS
from tests.support.probes import ping, receives, udp_at
from tests.support.vpcs import Vpc, eni, with_addresses

pytestmark = pytest.mark.kernel

GATEWAY_A = IPv4Address("10.0.1.1")
GATEWAY_B = IPv4Address("10.0.2.1")
FIRST = IPv4Address("10.0.1.11")
SECOND = IPv4Address("10.0.1.12")
THIRD = IPv4Address("10.0.2.13")
POD = IPv4Address("10.0.1.50")
STRANGER = IPv4Address("203.0.113.9")
PORT = 5000

ENI_1 = eni(1, "ins-1", 0)
ENI_2 = eni(2, "ins-2", 0)


@pytest.mark.parametrize("to", [GATEWAY_A, SECOND, THIRD, GATEWAY_B, OUTSIDE_ADDRESS], ids=str)
async def test_an_instance_reaches(vpc: Vpc, to: IPv4Address) -> None:
    assert vpc.reaches("ins-1", to)


async def test_an_address_answers_only_while_it_is_assigned(vpc: Vpc) -> None:
    vpc.configure("ins-2", ENI_2.mac, POD)  # the node claims it all along

    before = vpc.reaches("ins-1", POD)
    await vpc.fabric.set_eni(with_addresses(ENI_2, POD))
    assigned = vpc.reaches("ins-1", POD)
    await vpc.fabric.set_eni(ENI_2)
    after = vpc.reaches("ins-1", POD)

    assert (before, assigned, after) == (False, True, False)


async def test_an_assigned_address_is_reached_from_everywhere(vpc: Vpc) -> None:
    vpc.configure("ins-2", ENI_2.mac, POD)
    await vpc.fabric.set_eni(with_addresses(ENI_2, POD))

    reached = {name: vpc.reaches(name, POD) for name in ("ins-1", "ins-3", "outside")}

    assert reached == {"ins-1": True, "ins-3": True, "outside": True}


async def test_a_migrated_address_is_delivered_to_its_new_instance_alone(vpc: Vpc) -> None:
    """In the order the cloud may have it: there first, then gone from here."""
    for name, port in (("ins-1", ENI_1), ("ins-2", ENI_2)):
        vpc.configure(name, port.mac, POD)
    await vpc.fabric.set_eni(with_addresses(ENI_1, POD))

    await vpc.fabric.set_eni(with_addresses(ENI_2, POD))
    await vpc.fabric.set_eni(ENI_1)

    with (
        udp_at(vpc.netns("ins-1"), POD, PORT) as old,
        udp_at(vpc.netns("ins-2"), POD, PORT) as new,
        udp_at(vpc.netns("ins-3"), THIRD) as sender,
    ):
        sender.sendto(b"for the pod", (str(POD), PORT))
        assert receives(new) == b"for the pod"
        assert receives(old, timeout_s=0) is None


async def test_another_address_of_the_eni_is_not_disturbed(vpc: Vpc) -> None:
    vpc.configure("ins-2", ENI_2.mac, POD)
    await vpc.fabric.set_eni(with_addresses(ENI_2, POD))

    await vpc.fabric.set_eni(with_addresses(ENI_2, POD, IPv4Address("10.0.1.51")))
    await vpc.fabric.set_eni(with_addresses(ENI_2, POD))

    assert vpc.reaches("ins-1", POD)
    assert vpc.reaches("ins-1", SECOND)


async def test_the_first_packet_to_a_neighbour_is_not_kept_waiting(vpc: Vpc) -> None:
    """A proxy's answer to ARP comes late by default: after up to 0.8 s, at random."""
    pods = [POD + number for number in range(8)]
    for pod in pods:
        vpc.configure("ins-2", ENI_2.mac, pod)
    await vpc.fabric.set_eni(with_addresses(ENI_2, *pods))

    took_s = [ping(vpc.netns("ins-1"), pod, timeout_s=2.0) for pod in pods]

    assert all(each is not None and each < 0.1 for each in took_s), took_s


@pytest.mark.parametrize("forged", [STRANGER, SECOND], ids=["a stranger's", "a neighbour's"])
async def test_a_packet_from_a_forged_source_is_dropped_and_counted(
    vpc: Vpc, forged: IPv4Address
) -> None:
    vpc.configure("ins-1", ENI_1.mac, forged)
    before = await vpc.fabric.drops()

    with (
        udp_at(vpc.netns("ins-3"), THIRD, PORT) as receiver,
        udp_at(vpc.netns("ins-1"), forged) as liar,
        udp_at(vpc.netns("ins-1"), FIRST) as honest,
    ):
        liar.sendto(b"forged", (str(THIRD), PORT))
        honest.sendto(b"honest", (str(THIRD), PORT))
        arrived = receives(receiver)

    assert arrived == b"honest"
    assert await vpc.fabric.drops() == before + 1


async def test_an_address_of_the_instances_other_eni_may_not_be_sent_from_this_one(
    vpc: Vpc,
) -> None:
    await vpc.fabric.set_eni(with_addresses(eni(4, "ins-1", 1), POD))
    vpc.configure("ins-1", ENI_1.mac, POD)  # on eth0, though it is eth1's

    with (
        udp_at(vpc.netns("ins-3"), THIRD, PORT) as receiver,
        udp_at(vpc.netns("ins-1"), POD) as sender,
        udp_at(vpc.netns("ins-1"), FIRST) as honest,
    ):
        sender.sendto(b"by the wrong ENI", (str(THIRD), PORT))
        honest.sendto(b"honest", (str(THIRD), PORT))

        assert receives(receiver) == b"honest"
    assert await vpc.fabric.drops() == 1


async def test_a_detached_eni_delivers_nothing_and_works_again_elsewhere(vpc: Vpc) -> None:
    secondary = with_addresses(eni(4, "ins-1", 0), POD)

    await vpc.fabric.remove_eni(ENI_1.eni)
    await vpc.fabric.set_eni(secondary)
    vpc.configure("ins-1", secondary.mac, POD)
    attached = vpc.reaches("ins-3", POD)
    await vpc.fabric.set_eni(with_addresses(eni(4, None, None), POD))
    detached = vpc.reaches("ins-3", POD)
    await vpc.fabric.set_eni(secondary)
    vpc.configure("ins-1", secondary.mac, POD)
    back = vpc.reaches("ins-3", POD)

    assert (attached, detached, back) == (True, False, True)
