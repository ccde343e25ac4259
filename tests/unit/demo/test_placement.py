"""Where the demo puts pods: fixed ones stay in one zone, in pairs near and far."""

from __future__ import annotations

import random

import pytest

from berth.demo.placement import Place, another_node, home_zone, place_pods
from berth.demo.workloads import visitors
from berth.manifests.pods import PodSpec, pods_of
from berth.manifests.reader import read_manifest
from shared.errors import Refused
from shared.ids import NodeName, Zone
from tests.support.paths import EXAMPLE


def place(node: str, zone: str) -> Place:
    return Place(node=NodeName(node), zone=Zone(zone))


NODES = [place("n1", "a"), place("n2", "a"), place("n3", "b")]


def fixed_pods() -> list[PodSpec]:
    return pods_of(read_manifest(EXAMPLE), random.Random(1))


def test_fixed_pods_stay_in_the_zone_with_most_nodes_turn_by_turn() -> None:
    placed = place_pods(fixed_pods(), NODES)

    assert [where.node for _, where in placed] == ["n1", "n2", "n1"]


def test_the_first_zone_is_home_when_all_are_alike() -> None:
    assert home_zone([place("n1", "b"), place("n2", "a")]) == "b"


def test_pods_without_fixed_addresses_are_spread_over_all_nodes() -> None:
    stream = visitors(random.Random(1))
    pods = [next(stream) for _ in range(4)]

    assert [where.node for _, where in place_pods(pods, NODES)] == ["n1", "n2", "n3", "n1"]


def test_a_pod_comes_back_on_another_node_of_its_zone() -> None:
    assert another_node(NODES[1], NODES).node == "n1"


def test_a_zone_of_one_node_is_named_when_there_is_no_other() -> None:
    with pytest.raises(Refused, match="zone b has no node but n3: a fixed-IP pod cannot leave"):
        another_node(NODES[2], NODES)
