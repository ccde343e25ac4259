"""The cloud a playground begins with: the simulator's own topology file, and what it says.

Pods get addresses from the subnets that no instance has its primary ENI in: container subnets
are not shared with other cloud resources.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import yaml

from services.vpc_simulator.population import quota_of
from services.vpc_simulator.topology import Topology as CloudTopology
from services.vpc_simulator.topology import parse_topology
from shared.errors import InvalidInput
from shared.ids import InstanceId, NodeName, SubnetId, Zone

_FILE_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedNode:
    """One instance of the topology, as a node."""

    name: NodeName
    instance: InstanceId
    zone: Zone
    address: IPv4Address | None  # None: the cloud chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A checked topology, with the text that the simulator will read."""

    text: str
    region: str
    nodes: tuple[PlannedNode, ...]
    pod_subnets: tuple[SubnetId, ...]
    pods_max: int  # addresses for pods that every instance may have


def default_topology() -> Topology:
    """Three nodes in two zones, two subnets for pods."""
    file = resources.files("berth.playground").joinpath("default_topology.yaml")
    return parse(file.read_text(encoding="utf-8"), source="the default topology")


def read_topology(file: Path) -> Topology:
    """Read and check a file. Raises InvalidInput naming place, value and allowed."""
    try:
        if file.stat().st_size > _FILE_BYTES_MAX:
            raise InvalidInput(f"topology {file}: larger than {_FILE_BYTES_MAX} bytes")
        return parse(file.read_text(encoding="utf-8"), source=f"topology {file}")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"topology {file}: cannot be read: {error}") from error


def parse(text: str, *, source: str) -> Topology:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{source}: not YAML: {reason}") from error
    cloud = parse_topology(document, source=source)
    return Topology(
        text=text,
        region=cloud.region,
        nodes=tuple(
            PlannedNode(
                name=NodeName(each.node or each.id),
                instance=InstanceId(each.id),
                zone=Zone(each.zone),
                address=each.address,
            )
            for each in cloud.instances
        ),
        pod_subnets=_pod_subnets(cloud, source),
        pods_max=_pods_max(cloud),
    )


def _pods_max(cloud: CloudTopology) -> int:
    quotas = [quota_of(each) for each in cloud.instances]
    return max(1, min(((it.enis - 1) * (it.addresses_per_eni - 1) for it in quotas), default=1))


def _pod_subnets(cloud: CloudTopology, source: str) -> tuple[SubnetId, ...]:
    taken = {each.subnet for each in cloud.instances}
    free = tuple(SubnetId(each.id) for each in cloud.subnets if each.id not in taken)
    if not free:
        raise InvalidInput(
            f"{source}: subnets: every subnet holds an instance;"
            " pods need at least one subnet of their own"
        )
    return free
