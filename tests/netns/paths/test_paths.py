"""Who reaches whom, and whom the other side sees: both modes, masquerade on and off."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

import pytest

from shared.kernel.netns import in_netns, socket_in
from tests.netns.paths.conftest import HERE, VPC_CIDR, Party, Wire
from tests.support.agent_world import IP_TRANSPARENT, exchange
from tests.support.probes import ping, receives, udp_at
from tests.support.vpcs import SUBNETS, Vpc

pytestmark = pytest.mark.kernel
also = pytest.mark.long  # the same by other settings

OFF: Final[dict[str, Any]] = {"masquerade": False}
ON: Final[dict[str, Any]] = {"masquerade": True, "non_masquerade_cidrs": (VPC_CIDR,)}
OFF_AND_ON: Final = [pytest.param(OFF, id="off"), pytest.param(ON, id="on", marks=also)]
ON_AND_OFF: Final = [pytest.param(ON, id="on"), pytest.param(OFF, id="off", marks=also)]
VPC: Final = (
    "same ENI",
    "other ENI",
    "own ENI",
    "second own ENI",
    "shared there",
    "own ENI there",
    "node there",
    "other subnet",
)
PORT: Final = 7008
_TRIES: Final = 3


def seen(source: Party, target: Party) -> str | None:
    """The address that the target sees; None: not reached."""
    for _ in range(_TRIES):  # a link that has just come up may lose its first packet
        found = exchange(source.netns, target.netns, target.address)
        if found is not None:
            return found
    return None


def seen_as(who: dict[str, Party], source: str, target: str) -> str | None:
    """Whose address the target sees when the source speaks."""
    address = seen(who[source], who[target])
    return next((n for n, party in who.items() if str(party.address) == address), address)


def both_ways(
    who: dict[str, Party], pod: str, others: tuple[str, ...]
) -> dict[str, str | None]:
    """By arrow: as whom the one on its right sees the one on its left."""
    found = {}
    for other in others:
        found[f"{pod} → {other}"] = seen_as(who, pod, other)
        found[f"{other} → {pod}"] = seen_as(who, other, pod)
    return found


@pytest.mark.parametrize("settings", OFF_AND_ON)
@pytest.mark.parametrize("pod", ["shared", pytest.param("own ENI", marks=also)])
async def test_in_the_vpc_each_sees_the_others_own_address(
    wire: Wire, pod: str, settings: dict[str, Any]
) -> None:
    who = await wire(**settings)
    others = tuple(each for each in (*VPC, "node", "shared") if each != pod)

    answers = both_ways(who, pod, others)

    assert answers == {arrow: arrow.split(" → ")[0] for arrow in answers}
    assert {f"{pod} → node", f"node → {pod}"} <= answers.keys()


@pytest.mark.parametrize("settings", ON_AND_OFF)
async def test_beyond_the_vpc_the_settings_decide_who_is_seen(
    wire: Wire, settings: dict[str, Any]
) -> None:
    who = await wire(**settings)
    pods = ("shared", "other ENI", "own ENI")

    answers: dict[str, str | None] = {}
    for pod in pods:
        answers |= both_ways(who, pod, ("outside",))
        answers[f"{pod} → platform"] = seen_as(who, pod, "platform")

    is_off = not settings["masquerade"]
    assert answers == {
        "shared → outside": "shared" if is_off else "node",
        "shared → platform": "shared" if is_off else "node",
        "other ENI → outside": "other ENI" if is_off else "node",
        "other ENI → platform": "other ENI" if is_off else "node",
        "own ENI → outside": "own ENI",
        "own ENI → platform": "node",  # by the second link
        # With masquerade the answer would leave by the primary ENI, which may not send it.
        "outside → shared": "outside" if is_off else None,
        "outside → other ENI": "outside" if is_off else None,
        "outside → own ENI": "outside",
    }


@pytest.mark.long
async def test_networks_that_are_not_masqueraded_see_the_pod_and_reach_it(wire: Wire) -> None:
    kept = (VPC_CIDR, IPv4Network("198.51.100.0/24"), IPv4Network("169.254.0.0/16"))
    who = await wire(masquerade=True, non_masquerade_cidrs=kept)

    answers = both_ways(who, "shared", ("outside", "other subnet"))

    assert answers == {arrow: arrow.split(" → ")[0] for arrow in answers}
    assert seen_as(who, "shared", "platform") == "shared"


@pytest.mark.long
@pytest.mark.parametrize("settings", OFF_AND_ON)
async def test_gateways_and_every_address_of_the_node_answer_a_pod(
    wire: Wire, settings: dict[str, Any]
) -> None:
    who = await wire(**settings)
    asked = [
        *(gateway for _, gateway in SUBNETS.values()),
        HERE.primary.primary_address,
        *(port.primary_address for port, _ in HERE.shared),
    ]

    for name in ("shared", "other ENI", "own ENI"):
        silent = [each for each in asked if ping(who[name].netns, each) is None]
        assert silent == [], name


@pytest.mark.parametrize("settings", OFF_AND_ON)
@pytest.mark.parametrize("pod", ["shared", pytest.param("own ENI", marks=also)])
async def test_nobody_hears_a_pod_under_an_address_that_is_not_its_own(
    wire: Wire, vpc: Vpc, pod: str, settings: dict[str, Any]
) -> None:
    who = await wire(**settings)
    liar = who[pod]
    before = await _dropped(vpc)
    stolen = [
        IPv4Address("203.0.113.9"),  # a stranger
        *(
            who[name].address
            for name in ("same ENI", "other ENI", "second own ENI", "node", "shared there")
        ),
        HERE.shared[0][0].primary_address,
    ]
    hearing = [
        who[name] for name in ("node", "same ENI", "other ENI", "shared there", "outside")
    ]

    with ExitStack() as stack:
        heard = [stack.enter_context(udp_at(x.netns, x.address, PORT)) for x in hearing]
        for source in stolen:
            _say(liar, hearing, str(source), as_other=source)
        _say(liar, hearing, "honest")
        said = [_until_honest(each) for each in heard]

    assert said == [[]] * len(hearing)
    assert await _dropped(vpc) - before > len(stolen), "they were not even sent"


async def _dropped(vpc: Vpc) -> int:
    """By the VPC, and by the source filters of the node's links."""
    with in_netns(vpc.netns(HERE.instance)):
        lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, counts = (line.split() for line in lines if line.startswith("TcpExt:"))
    filtered = dict(zip(names, counts, strict=True))["IPReversePathFilter"]
    return int(filtered) + await vpc.fabric.drops()


def _say(
    liar: Party, hearing: list[Party], text: str, *, as_other: IPv4Address | None = None
) -> None:
    with socket_in(liar.netns, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if as_other is not None:
            sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
            sock.bind((str(as_other), 0))
        for party in hearing:
            with suppress(OSError):  # a route that its own kernel refuses
                sock.sendto(text.encode(), (str(party.address), PORT))


def _until_honest(sock: socket.socket) -> list[str]:
    """What was heard before the last word, which came the same way."""
    heard: list[str] = []
    while (word := receives(sock)) != b"honest":
        assert word is not None, "the honest word was not heard"
        heard.append(word.decode())
    return heard
