"""The result of an ADD for a pod that has an ENI of its own."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest

from services.node_agent.cni.results import add_result
from services.node_agent.domain.requests import SecondLink, Wired

WIRED = Wired(
    host_ifname="ene3f2a9c01b7d",
    host_mac="02:00:00:00:00:01",
    ifname="eth0",
    mac="20:90:6f:00:00:05",
    mtu=1500,
    address=IPv4Address("10.0.1.15"),
    gateway=IPv4Address("10.0.1.1"),
    prefix_length=24,
    second=SecondLink(ifname="veth0", mac="02:00:00:00:00:02", mtu=1500),
)


@pytest.mark.parametrize("version", ["0.3.1", "1.0.0", "1.1.0"])
def test_the_address_is_the_enis_with_its_subnet_and_gateway(version: str) -> None:
    told = json.loads(
        add_result(WIRED, cni_version=version, netns_path="/run/netns/a", prev_result=None)
    )

    mtu = {"mtu": 1500} if version == "1.1.0" else {}
    assert told["interfaces"] == [
        {"name": "ene3f2a9c01b7d", "mac": "02:00:00:00:00:01"} | mtu,
        {"name": "eth0", "mac": "20:90:6f:00:00:05", "sandbox": "/run/netns/a"} | mtu,
        {"name": "veth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/a"} | mtu,
    ]
    says_version = {"version": "4"} if version == "0.3.1" else {}
    assert told["ips"] == [
        {"address": "10.0.1.15/24", "gateway": "10.0.1.1", "interface": 1} | says_version
    ]
    assert told["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.0.1.1"}]
