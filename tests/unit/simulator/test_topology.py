"""A topology is checked whole; each mistake is named by place, value and what is allowed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from services.vpc_simulator.population import build_cloud
from services.vpc_simulator.topology import load_topology, parse_topology
from shared.errors import InvalidInput
from tests.support.small_cloud import DOCUMENT

NOW = datetime(2026, 1, 1, tzinfo=UTC)

Change = Callable[[dict[str, Any]], object]

MISTAKES: list[tuple[Change, list[str]]] = [
    (lambda d: d.pop("region"), ["region", "required"]),
    (lambda d: d.update(colour="red"), ["colour", "'red'"]),
    (lambda d: d.update(subnets=[]), ["subnets", "at least 1"]),
    (lambda d: d["vpc"].update(cidr="10.0.0.1/16"), ["vpc.cidr", "'10.0.0.1/16'"]),
    (lambda d: d["subnets"][0].update(cidr="11.0.0.0/24"), ["subnets.0.cidr", "10.0.0.0/16"]),
    (lambda d: d["subnets"][0].update(cidr="10.0.1.0/30"), ["subnets.0.cidr", "/29"]),
    (lambda d: d["subnets"][0].update(cidr="10.0.2.0/24"), ["subnet-a, subnet-small"]),
    (lambda d: d["subnets"][0].update(vpc="vpc-no"), ["subnets.0.vpc", "vpc-no", "vpc-one"]),
    (
        lambda d: d.update(more_vpcs=[{"id": "vpc-one", "cidr": "10.1.0.0/16"}]),
        ["more_vpcs: id", "'vpc-one'", "once"],
    ),
    (lambda d: d["subnets"][1].update(id="subnet-a"), ["subnets: id", "'subnet-a'", "once"]),
    (lambda d: d["instances"][0].update(id="i-1"), ["instances.0.id", "'i-1'", "^ins-"]),
    (lambda d: d["instances"][0].update(zone="zone-9"), ["instances.0.zone", "zone-1"]),
    (lambda d: d["instances"][0].update(subnet="subnet-x"), ["instances.0.subnet", "subnet-a"]),
    (
        lambda d: d["instances"][1].update(address="10.0.1.1"),
        ["instances.1.address", "10.0.1.1", "reserved"],
    ),
    (
        lambda d: d.update(foreign_addresses=[{"subnet": "subnet-a", "address": "10.9.9.9"}]),
        ["foreign_addresses.0.address", "10.9.9.9", "10.0.1.0/24"],
    ),
    (
        lambda d: d.update(limits={"rates_per_s": {"Create": 3}}),
        ["limits.rates_per_s", "'Create'", "CreateNetworkInterface"],
    ),
    (lambda d: d.update(limits={"tasks_kept_max": 0}), ["limits.tasks_kept_max", "0"]),
    (
        lambda d: d.update(latency={"calls": {"default": {"median_ms": "soon"}}}),
        ["latency.calls.default.median_ms", "'soon'", "number"],
    ),
]


@pytest.mark.parametrize(("change", "words"), MISTAKES)
def test_a_mistake_is_named_by_place_value_and_allowed(
    change: Change, words: list[str]
) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document)

    with pytest.raises(InvalidInput) as caught:
        build_cloud(parse_topology(document, source="file"), now=NOW, source="file")

    assert str(caught.value).startswith("file: ")
    assert "\n" not in str(caught.value)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"a: b: c"])
def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "topology.yaml"
    path.write_bytes(content)

    with pytest.raises(InvalidInput, match=str(path)):
        load_topology(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        load_topology(tmp_path / "missing.yaml")


def test_instances_have_the_addresses_they_name() -> None:
    document: dict[str, Any] = copy.deepcopy(DOCUMENT)
    document["instances"][1]["address"] = "10.0.1.2"

    cloud = build_cloud(parse_topology(document, source="file"), now=NOW, source="file")

    assert cloud.instance("ins-two").primary_address == IPv4Address("10.0.1.2")
    assert cloud.instance("ins-one").primary_address != IPv4Address("10.0.1.2")


def test_a_seed_repeats_ids_and_macs() -> None:
    topology = parse_topology(DOCUMENT, source="file")

    one, other = (build_cloud(topology, now=NOW, source="file") for _ in range(2))

    assert list(one.enis) == list(other.enis)
    assert list(one.macs) == list(other.macs)


def test_the_example_is_a_topology() -> None:
    topology = load_topology(Path("deploy/examples/topology.yaml"))

    assert len(topology.instances) == 3
    assert len({subnet.zone for subnet in topology.subnets}) == 2


def test_a_topology_says_how_many_tasks_are_remembered() -> None:
    document: dict[str, Any] = copy.deepcopy(DOCUMENT)
    document["limits"] = {"tasks_kept_max": 7}

    cloud = build_cloud(parse_topology(document, source="file"), now=NOW, source="file")

    assert cloud.limits.tasks_kept_max == 7
