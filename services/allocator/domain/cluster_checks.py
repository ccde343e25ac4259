"""What Kubernetes and the cloud must be like for a cluster to be enabled (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from shared.errors import KubernetesUnsuited, NotFound, SubnetInUse, WrongVpc
from shared.ids import SubnetId, VpcId, Zone

KUBERNETES_MIN: Final = (1, 10)
USES_SHOWN_MAX: Final = 3  # in one sentence; the list of subnets shows more


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesFacts:
    """Of the cluster's Kubernetes, where one is named; what is None was not told."""

    version: str | None
    uses_cni: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignAddress:
    address: IPv4Address
    kind: str
    resource: str

    def __str__(self) -> str:
        return f"{self.address} ({self.kind}{f' {self.resource}' if self.resource else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetLook:
    """A subnet as the cloud shows it."""

    subnet: SubnetId
    vpc: VpcId
    zone: Zone
    cidr: IPv4Network
    enis: int  # ours
    addresses: int  # on them
    foreign: tuple[ForeignAddress, ...]  # the first of them
    foreign_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the eni_manager tells of the cloud."""

    revision: int  # of the record it acts on
    subnets: Mapping[str, SubnetLook]
    enis: int  # of this cluster, wherever they are
    waits_for: str | None


def check_kubernetes(facts: KubernetesFacts | None) -> str | None:
    """What was not checked, if so. Raises KubernetesUnsuited."""
    if facts is None or facts.version is None:
        missing = "Kubernetes was not checked: none is named"
    else:
        missing = None
        found = re.match(r"v?(\d+)\.(\d+)", facts.version)
        if found is None:
            raise KubernetesUnsuited(
                f"Kubernetes {facts.version!r}: not a version; it must be 1.10 or newer"
            )
        if (int(found[1]), int(found[2])) < KUBERNETES_MIN:
            raise KubernetesUnsuited(
                f"Kubernetes is {facts.version}: 1.10 or newer is needed; upgrade it first"
            )
    if facts is not None and facts.uses_cni is False:
        raise KubernetesUnsuited(
            "the cluster's nodes run without CNI: start kubelet with a CNI runtime first"
        )
    if facts is not None and facts.uses_cni is None and missing is None:
        return "whether the nodes use CNI was not checked: nobody told"
    return missing


def check_subnets(
    names: Sequence[SubnetId], look: Look, *, has_fixed_ips: bool, settled: Collection[SubnetId]
) -> list[str]:
    """What a person should know of subnets that may serve. Raises what forbids one.

    Foreign use that came after a subnet was settled is told, and forbids nothing any more.
    """
    missing = [each for each in names if each not in look.subnets]
    if missing:
        raise NotFound(f"subnets: no such subnet at the cloud: {', '.join(missing)}")
    found = [look.subnets[each] for each in names]
    if len({each.vpc for each in found}) > 1:
        shown = ", ".join(f"{each.subnet} is in {each.vpc}" for each in found)
        raise WrongVpc(f"subnets: they must be in one VPC, the nodes' own: {shown}")
    notes = []
    for each in found:
        if not each.foreign_count:
            continue
        if has_fixed_ips and each.subnet not in settled:
            raise SubnetInUse(
                f"subnet {each.subnet} is not empty: {_uses(each)}; with fixed IPs only empty"
                " subnets are accepted: name another, or free those addresses"
            )
        notes.append(f"subnet {each.subnet} is shared with others: {_uses(each)}")
    return notes


def _uses(look: SubnetLook) -> str:
    shown = ", ".join(str(each) for each in look.foreign[:USES_SHOWN_MAX])
    more = look.foreign_count - min(len(look.foreign), USES_SHOWN_MAX)
    return f"{look.foreign_count} addresses are not ours: {shown}" + (
        f" and {more} more" if more > 0 else ""
    )
