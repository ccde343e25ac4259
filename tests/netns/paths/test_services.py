"""Services by packets: kube-proxy's two modes, pods of both modes, masquerade on and off."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Final

import pytest

from shared.kernel.addresses import add_address
from shared.kernel.conversation import Conversation
from tests.netns.paths.conftest import Party, Wire
from tests.netns.paths.test_paths import ON_AND_OFF
from tests.support.agent_world import exchange
from tests.support.kube_proxy import Mode, Service, ask, do_not_track, serve

pytestmark = pytest.mark.kernel

CLUSTER_IP: Final = IPv4Address("172.16.0.10")
PORT, BACKEND_PORT, NODE_PORT = 80, 8080, 30080
_LOOPBACK: Final = 1
BACKENDS: Final = ("shared", "other ENI", "own ENI", "shared there", "own ENI there")

each_setting = pytest.mark.parametrize("settings", ON_AND_OFF)
each_mode = pytest.mark.parametrize(
    "mode", [Mode.NFTABLES, pytest.param(Mode.IPTABLES, marks=pytest.mark.long)]
)


def on_node_port(backend: Party, *, is_masqueraded: bool = False) -> Service:
    """With policy Local, but for one whose clients are masqueraded."""
    return Service(
        address=None,
        port=NODE_PORT,
        backend=backend.address,
        backend_port=BACKEND_PORT,
        is_masqueraded=is_masqueraded,
    )


def asked(client: Party, to: tuple[IPv4Address, int], backend: Party) -> IPv4Address | None:
    """As whom the backend saw the client; None: it was not asked, or not heard."""
    seen = ask(client.netns, to, backend.netns, (backend.address, BACKEND_PORT))
    return None if seen is None else IPv4Address(seen)


@each_mode
@each_setting
async def test_a_cluster_ip_reaches_every_kind_of_pod_here_and_there(
    wire: Wire, settings: dict[str, Any], mode: Mode
) -> None:
    who = await wire(**settings)
    node = who["node"]
    answered, expected = {}, {}

    for backend in (*BACKENDS, "other subnet"):
        service = Service(
            address=CLUSTER_IP,
            port=PORT,
            backend=who[backend].address,
            backend_port=BACKEND_PORT,
        )
        serve(node.netns, service, mode=mode)
        for client in ("same ENI", "other ENI", "second own ENI", "node"):
            to = (CLUSTER_IP, PORT)
            answered[client, backend] = asked(who[client], to, who[backend])
            # An own ENI answers the node only; out of the node its pod has the node's source;
            # and what a pod asks itself is masqueraded.
            is_out = client == "second own ENI" and backend not in ("shared", "other ENI")
            is_node = is_out or backend == "own ENI" or client == backend
            expected[client, backend] = (node if is_node else who[client]).address

    assert answered == expected


@pytest.mark.long
@each_mode
@each_setting
async def test_a_port_of_the_node_with_policy_local_keeps_the_clients_address(
    wire: Wire, settings: dict[str, Any], mode: Mode
) -> None:
    """hostPort as well: neither is masqueraded."""
    who = await wire(**settings)
    node = who["node"]
    answered, expected = {}, {}

    for backend in ("shared", "other ENI", "own ENI"):
        serve(node.netns, on_node_port(who[backend]), mode=mode)
        for client in (
            "node there",
            "shared there",
            "own ENI there",
            "other subnet",
            "outside",
        ):
            to = (node.address, NODE_PORT)
            answered[client, backend] = asked(who[client], to, who[backend])
            seen = node if backend == "own ENI" else who[client]
            expected[client, backend] = seen.address

    assert answered == expected


@pytest.mark.long
@each_mode
@each_setting
async def test_a_port_of_the_node_with_policy_local_is_reached_from_the_node_itself(
    wire: Wire, settings: dict[str, Any], mode: Mode
) -> None:
    who = await wire(**settings)
    node = who["node"]
    answered, expected = {}, {}

    for backend in ("shared", "other ENI", "own ENI"):
        serve(node.netns, on_node_port(who[backend]), mode=mode)
        for client in ("same ENI", "other ENI", "second own ENI", "node"):
            to = (node.address, NODE_PORT)
            answered[client, backend] = asked(who[client], to, who[backend])
            is_node = backend == "own ENI" or client == backend
            expected[client, backend] = (node if is_node else who[client]).address

    assert answered == expected


@pytest.mark.long
@each_mode
@each_setting
async def test_a_port_of_the_node_with_policy_cluster_reaches_pods_of_other_nodes(
    wire: Wire, settings: dict[str, Any], mode: Mode
) -> None:
    who = await wire(**settings)
    node = who["node"]
    answered = {}

    for backend in BACKENDS:
        serve(node.netns, on_node_port(who[backend], is_masqueraded=True), mode=mode)
        for client in ("node there", "shared there", "other subnet", "outside"):
            to = (node.address, NODE_PORT)
            answered[client, backend] = asked(who[client], to, who[backend])

    assert answered == dict.fromkeys(answered, node.address)


@pytest.mark.long
@each_setting
async def test_a_dns_cache_of_the_node_is_reached_by_both_its_addresses(
    wire: Wire, settings: dict[str, Any]
) -> None:
    """As NodeLocal DNS sets itself up: a link-local address and the service's own, both on the
    node, and what goes there or comes from there is not tracked."""
    who = await wire(**settings)
    node = who["node"].netns
    cache = (IPv4Address("169.254.20.10"), IPv4Address("172.16.0.53"))
    with Conversation(node) as kernel:
        kernel.do([add_address(_LOOPBACK, IPv4Interface(each)) for each in cache])
    do_not_track(node, *cache)

    answered = {
        (name, address): exchange(who[name].netns, node, address)
        for name in ("shared", "other ENI", "own ENI")
        for address in cache
    }

    assert answered == {(name, at): str(who[name].address) for name, at in answered}
