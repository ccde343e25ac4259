"""The topology file: the cloud to begin with, checked whole before anything is made of it."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.vpc_simulator.api.actions import ACTIONS
from services.vpc_simulator.model.subnets import PREFIX_LENGTH_MAX
from services.vpc_simulator.weather import Latencies, Latency, Rates
from shared.errors import InvalidInput

_ID_TAIL = r"[0-9a-z-]{1,60}"

Milliseconds = Annotated[float, Field(ge=0, le=600_000)]


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LatencyDocument(Document):
    median_ms: Milliseconds
    sigma: Annotated[float, Field(ge=0, le=3)] = 0.0
    """Of the logarithm; 0 makes the latency fixed."""

    def latency(self) -> Latency:
        return Latency(median_s=self.median_ms / 1000, sigma=self.sigma)


class LatenciesDocument(Document):
    default: LatencyDocument | None = None
    actions: dict[str, LatencyDocument] = {}

    def of(self) -> dict[str, Latency]:
        return {action: each.latency() for action, each in self.actions.items()}


class WeatherDocument(Document):
    calls: LatenciesDocument = LatenciesDocument()
    """From a call to its answer."""
    effects: LatenciesDocument = LatenciesDocument()
    """From an answer to the change being done."""


class VpcDocument(Document):
    id: Annotated[str, Field(pattern=f"^vpc-{_ID_TAIL}$")]
    cidr: IPv4Network
    name: str = ""


class SubnetDocument(Document):
    id: Annotated[str, Field(pattern=f"^subnet-{_ID_TAIL}$")]
    cidr: IPv4Network
    zone: Annotated[str, Field(min_length=1)]
    name: str = ""
    vpc: str = ""
    """One of `more_vpcs`; the VPC itself where none is named."""


class QuotaDocument(Document):
    enis: Annotated[int, Field(ge=1, le=64)]
    addresses_per_eni: Annotated[int, Field(ge=1, le=256)]


class InstanceDocument(Document):
    id: Annotated[str, Field(pattern=f"^ins-{_ID_TAIL}$")]
    zone: Annotated[str, Field(min_length=1)]
    subnet: str
    node: str = ""
    """The node's name; the instance's id where there is none."""
    type: str = "S5.LARGE8"
    cpu: Annotated[int, Field(ge=1)] = 4
    memory_gib: Annotated[int, Field(ge=1)] = 8
    address: IPv4Address | None = None
    """Of the primary ENI; a free one of the subnet where none is named."""
    quota: QuotaDocument | None = None
    """By type and cores where it is absent."""


class ForeignAddressDocument(Document):
    subnet: str
    address: IPv4Address
    type: str = "CLB"


class LimitsDocument(Document):
    enis_per_vpc: Annotated[int, Field(ge=0)] = 1000
    addresses_per_detached_eni: Annotated[int, Field(ge=1, le=256)] = 30
    migrates_to_detached_eni: bool = False
    reserves_used_addresses: bool = True
    reserved_per_subnet: Annotated[int, Field(ge=0)] = 1000
    attach_needs_security_group: bool = False
    eips_per_account: Annotated[int, Field(ge=0, le=254)] = 20
    eips_per_day: Annotated[int, Field(ge=0)] = 40
    tasks_kept_max: Annotated[int, Field(ge=1)] = 100_000
    """Whose end can still be asked for."""
    rates_per_s: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Calls of an account per action; the documented ones where absent."""


class Topology(Document):
    """A region with one VPC; others, which only the wireless mode takes, have no network."""

    region: str
    vpc: VpcDocument
    more_vpcs: list[VpcDocument] = []
    subnets: Annotated[list[SubnetDocument], Field(min_length=1)]
    instances: list[InstanceDocument] = []
    foreign_addresses: list[ForeignAddressDocument] = []
    security_groups: list[Annotated[str, Field(pattern=f"^sg-{_ID_TAIL}$")]] = []
    """Those that exist; where none is named, every one does."""
    limits: LimitsDocument = LimitsDocument()
    latency: WeatherDocument = WeatherDocument()
    seed: int | None = None
    """Repeats ids, MAC addresses and latencies; absent: new ones each time."""


CALL_LATENCY = Latency(median_s=0.005)
EFFECT_LATENCY = Latency(median_s=0.03)


def load_topology(path: Path) -> Topology:
    """Read and check a file. Raises InvalidInput naming place, value and allowed."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"topology {path}: cannot be read as YAML: {reason}") from error
    return parse_topology(document, source=f"topology {path}")


def parse_topology(document: object, *, source: str) -> Topology:
    try:
        topology = Topology.model_validate(document)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in detail["loc"]) or "document"
        allowed = detail["msg"].removeprefix("Input should be ")
        raise InvalidInput.of(f"{source}: {place}", detail["input"], allowed) from error
    _check_places(topology, source)
    _check_instances(topology, source)
    _check_actions(topology, source)
    return topology


def _check_places(topology: Topology, source: str) -> None:
    _check_unique([each.id for each in topology.subnets], f"{source}: subnets", "id")
    vpcs = [topology.vpc, *topology.more_vpcs]
    _check_unique([each.id for each in vpcs], f"{source}: more_vpcs", "id")
    cidrs = {each.id: each.cidr for each in vpcs}
    for at, subnet in enumerate(topology.subnets):
        place = f"{source}: subnets.{at}.cidr"
        vpc = subnet.vpc or topology.vpc.id
        if vpc not in cidrs:
            raise InvalidInput.of(f"{source}: subnets.{at}.vpc", vpc, " or ".join(cidrs))
        if not subnet.cidr.subnet_of(cidrs[vpc]):
            raise InvalidInput.of(place, str(subnet.cidr), f"within {cidrs[vpc]}")
        if subnet.cidr.prefixlen > PREFIX_LENGTH_MAX:
            raise InvalidInput.of(place, str(subnet.cidr), f"at most /{PREFIX_LENGTH_MAX}")
    for one, other in combinations(topology.subnets, 2):
        if one.cidr.overlaps(other.cidr):
            raise InvalidInput.of(
                f"{source}: subnets", f"{one.id}, {other.id}", "subnets that do not overlap"
            )


def _check_instances(topology: Topology, source: str) -> None:
    _check_unique([each.id for each in topology.instances], f"{source}: instances", "id")
    nodes = [each.node for each in topology.instances if each.node]
    _check_unique(nodes, f"{source}: instances", "node")
    subnets = {each.id: each for each in topology.subnets}
    for at, instance in enumerate(topology.instances):
        place = f"{source}: instances.{at}"
        if instance.subnet not in subnets:
            raise InvalidInput.of(f"{place}.subnet", instance.subnet, " or ".join(subnets))
        subnet = subnets[instance.subnet]
        if instance.zone != subnet.zone:
            raise InvalidInput.of(
                f"{place}.zone", instance.zone, f"{subnet.zone}, the zone of {subnet.id}"
            )
    for at, foreign in enumerate(topology.foreign_addresses):
        if foreign.subnet not in subnets:
            raise InvalidInput.of(
                f"{source}: foreign_addresses.{at}.subnet", foreign.subnet, " or ".join(subnets)
            )


def _check_actions(topology: Topology, source: str) -> None:
    for place, named in (
        ("limits.rates_per_s", topology.limits.rates_per_s),
        ("latency.calls.actions", topology.latency.calls.actions),
        ("latency.effects.actions", topology.latency.effects.actions),
    ):
        for action in named:
            if action not in ACTIONS:
                raise InvalidInput.of(f"{source}: {place}", action, ", ".join(ACTIONS))


def _check_unique(values: list[str], place: str, field: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InvalidInput.of(f"{place}: {field}", value, "a value that occurs once")
        seen.add(value)


def call_latencies(topology: Topology) -> Latencies:
    return _latencies(topology.latency.calls, CALL_LATENCY, topology.seed)


def effect_latencies(topology: Topology) -> Latencies:
    return _latencies(topology.latency.effects, EFFECT_LATENCY, topology.seed)


def _latencies(document: LatenciesDocument, default: Latency, seed: int | None) -> Latencies:
    chosen = document.default.latency() if document.default else default
    return Latencies(chosen, document.of(), rng=random.Random(seed))


def rates(topology: Topology) -> Rates:
    documented = {name: float(action.rate_per_s) for name, action in ACTIONS.items()}
    return Rates(documented | topology.limits.rates_per_s)
