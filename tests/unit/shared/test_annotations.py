"""What users may write on a pod, and how a wrong value is named."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from shared.annotations import (
    DELETE_POLICY,
    EXPIRED_DURATION,
    NETWORKS,
    NOMINATED_IP,
    NOMINATED_SUBNETS,
    DeletePolicy,
    NetworkMode,
    parse_go_duration,
    parse_pod_network,
)
from shared.errors import InvalidInput

EXCLUSIVE = NetworkMode.EXCLUSIVE


def test_a_pod_that_says_nothing_gets_the_defaults() -> None:
    network = parse_pod_network({"unrelated": "value"})

    assert network.mode is None
    assert network.policy is DeletePolicy.IMMEDIATE
    assert network.expires_after is None
    assert network.nominated is None


def test_a_pod_gets_what_it_asks_for() -> None:
    network = parse_pod_network(
        {NETWORKS: "tke-direct-eni", DELETE_POLICY: "Never", EXPIRED_DURATION: "1h30m"}
    )

    assert network.mode is NetworkMode.EXCLUSIVE
    assert network.policy is DeletePolicy.NEVER
    assert network.expires_after == timedelta(minutes=90)


def test_a_pod_may_name_the_address_that_it_wants() -> None:
    network = parse_pod_network({NOMINATED_IP: "10.0.1.20"})

    assert network.nominated == IPv4Address("10.0.1.20")


def test_a_pod_that_names_its_address_names_no_subnets_beside_it() -> None:
    with pytest.raises(InvalidInput, match=r"nominated-eni-subnets: .* none beside"):
        parse_pod_network({NOMINATED_IP: "10.0.1.20", NOMINATED_SUBNETS: "subnet-a"})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        pytest.param(NETWORKS, "flannel", "tke-route-eni or tke-direct-eni", id="network"),
        pytest.param(NETWORKS, "", "tke-route-eni", id="empty-network"),
        pytest.param(DELETE_POLICY, "never", "Immediate or Never", id="lower-case-policy"),
        pytest.param(EXPIRED_DURATION, "4m59s", "at least 5m", id="too-short"),
        pytest.param(EXPIRED_DURATION, "90", "Go duration", id="no-unit"),
        pytest.param(EXPIRED_DURATION, "1d", "Go duration", id="days"),
        pytest.param(EXPIRED_DURATION, "-1h", "Go duration", id="negative"),
        pytest.param(NOMINATED_IP, "10.0.1", "one IPv4 address", id="no-address"),
        pytest.param(NOMINATED_IP, "10.0.1.20/24", "one IPv4 address", id="cidr"),
        pytest.param(NOMINATED_IP, "fd00::20", "no IPv6", id="ipv6"),
        pytest.param(NOMINATED_SUBNETS, "", "subnet ids", id="no-subnet"),
        pytest.param(NOMINATED_SUBNETS, "subnet-a,", "subnet ids", id="empty-part"),
        pytest.param(NOMINATED_SUBNETS, "subnet-a,subnet-a", "different", id="subnet-twice"),
        pytest.param(NOMINATED_SUBNETS, "10.0.1.0/24", "such as subnet-", id="cidr"),
        pytest.param(NOMINATED_SUBNETS, "subnet-", "such as subnet-", id="bare-prefix"),
        pytest.param(
            NOMINATED_SUBNETS,
            ",".join(f"subnet-{at}" for at in range(17)),
            "1 to 16",
            id="too-many-subnets",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    name: str, value: str, allowed: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_pod_network({name: value})

    line = str(refused.value)
    shown = repr(value)
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    assert line.startswith(f"{name}: {shown} is not allowed")
    assert allowed in line


def test_nominated_subnets_are_the_same_in_any_order() -> None:
    network = parse_pod_network({NOMINATED_SUBNETS: "subnet-b, subnet-a"})

    assert network.nominated_subnets == ("subnet-a", "subnet-b")


@pytest.mark.parametrize(
    ("text", "mode", "others"),
    [
        ("tke-route-eni@eth1", NetworkMode.SHARED, ()),
        ("tke-bridge, tke-route-eni", NetworkMode.SHARED, ("tke-bridge",)),
        ('[{"name": "tke-direct-eni", "interface": "eth1"}]', EXCLUSIVE, ()),
        (
            '[{"name": "tke-bridge"}, {"name": "tke-route-eni"}]',
            NetworkMode.SHARED,
            ("tke-bridge",),
        ),
        ("kube-system/tke-route-eni", NetworkMode.SHARED, ()),
        ("tke-bridge", None, ("tke-bridge",)),
    ],
)
def test_networks_may_be_listed_in_both_forms(
    text: str, mode: NetworkMode | None, others: tuple[str, ...]
) -> None:
    network = parse_pod_network({NETWORKS: text})

    assert (network.mode, network.others) == (mode, others)


@pytest.mark.parametrize(
    "text",
    [
        "tke-route-eni,tke-direct-eni",
        "tke-route-eni,",
        "tke-bridge,flannel",
        "[",
        "[]",
        "[1]",
        '[{"interface": "eth1"}]',
        '{"name": "tke-route-eni"}',
        "[" * 3000,
        "tke-route-eni," * 1000,
    ],
)
def test_a_list_that_holds_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="tke-route-eni or tke-direct-eni"):
        parse_pod_network({NETWORKS: text})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("300s", 300),
        ("5m0s", 300),
        ("1ms", 0.001),
    ],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "5m ", "1h-5m", "5min", "∞"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert parse_go_duration(text) is None
