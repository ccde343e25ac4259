"""Claims of another component's VpcIPClaim objects, read as leases to be adopted (pure).

What is taken is attested of that component: a claim is named as its pod, an address object as
its address. A lease is adopted without a place: when its pod comes, the cloud tells which ENI
has the address, or it is assigned by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any, Final

import yaml

from shared.addresses import AddressState
from shared.annotations import DeletePolicy, NetworkMode, parse_go_duration
from shared.errors import InvalidInput
from shared.messages.base import IdentityFields
from shared.messages.recovery import BackedUpLease

NETWORK: Final = "berth"  # the name of our CNI network: of the identities that pods get
BYTES_MAX: Final = 256 << 20
_CLAIM: Final = "VpcIPClaim"
_ADDRESS: Final = "VpcIP"
_NEVER_EXPIRES: Final = ("", "0", "0s")

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unadopted:
    """A claim that is left alone, and why."""

    claim: str
    reason: str


@dataclass(slots=True)
class Adoption:
    leases: list[BackedUpLease] = field(default_factory=list)
    refused: list[Unadopted] = field(default_factory=list)


def read_objects(text: str, where: str) -> list[Found]:
    """Objects and lists of them, as `kubectl get -o yaml` or `-o json` prints them."""
    if len(text) > BYTES_MAX:
        raise InvalidInput(f"{where}: larger than {BYTES_MAX} bytes")
    try:
        documents = list(
            yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        )
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InvalidInput(f"{where}: cannot be read as YAML or JSON: {reason}") from error
    found: list[Found] = []
    for document in documents:
        items = document.get("items", [document]) if isinstance(document, dict) else [document]
        for each in items if isinstance(items, list) else [items]:
            if each is None:
                continue
            if not isinstance(each, dict) or not isinstance(each.get("metadata"), dict):
                raise InvalidInput(f"{where}: holds what is no Kubernetes object")
            found.append(each)
    return found


def adopt(
    objects: Iterable[Found], subnets: Mapping[str, IPv4Network], now: datetime
) -> Adoption:
    """`subnets`: the container subnets of this cluster. Each claim is a lease, or refused."""
    listed = list(objects)
    claims = [each for each in listed if each.get("kind") == _CLAIM]
    addresses = _claimed([each for each in listed if each.get("kind") == _ADDRESS])
    found, holders = Adoption(), dict[IPv4Address, str]()
    for claim in sorted(claims, key=_name_of):
        name = _name_of(claim)
        try:
            lease = _lease(claim, addresses.get(name), subnets, now)
            if lease.address in holders:
                raise InvalidInput(f"{lease.address} is {holders[lease.address]}'s, too")
        except InvalidInput as error:
            found.refused.append(Unadopted(claim=name, reason=str(error)))
        else:
            holders[lease.address] = name
            found.leases.append(lease)
    return found


def _lease(
    claim: Found, claimed: object, subnets: Mapping[str, IPv4Network], now: datetime
) -> BackedUpLease:
    spec, status = _part(claim, "spec"), _part(claim, "status")
    policy = spec.get("deletePolicy", DeletePolicy.IMMEDIATE)
    if policy != DeletePolicy.NEVER:
        raise InvalidInput(f"deletePolicy {policy}: nothing is kept for its pod's return")
    mode = spec.get("type", NetworkMode.SHARED)
    if mode != NetworkMode.SHARED:
        raise InvalidInput.of(
            "spec.type",
            str(mode),
            f"{NetworkMode.SHARED}; an ENI of another component is not taken over",
        )
    address = _address(status.get("vpcIP") or spec.get("vpcIP") or claimed)
    homes = [subnet for subnet, cidr in subnets.items() if address in cidr]
    if not homes:
        known = ", ".join(f"{subnet} {cidr}" for subnet, cidr in subnets.items()) or "none"
        raise InvalidInput.of("address", str(address), f"one of a container subnet ({known})")
    metadata = claim["metadata"]
    return BackedUpLease(
        identity=IdentityFields(
            namespace=str(metadata.get("namespace", "")),
            name=str(metadata.get("name", "")),
            network=NETWORK,
        ),
        address=address,
        state=AddressState.PARKED,
        generation=1,
        subnet=homes[0],
        since=now,  # its span begins anew: what was counted before is not known
        expires_after=_span(spec.get("expiredDuration")),
    )


def _claimed(addresses: Sequence[Found]) -> dict[str, str]:
    """Address objects that name their claim, by that name."""
    found = {}
    for each in addresses:
        claim = _part(each, "spec").get("claimRef") or {}
        if isinstance(claim, dict) and claim.get("name"):
            place = f"{claim.get('namespace', '')}/{claim['name']}"
            found[place] = str(each["metadata"].get("name", ""))
    return found


def _address(value: object) -> IPv4Address:
    if not value:
        raise InvalidInput("neither the claim nor a VpcIP names its address")
    try:
        return IPv4Address(str(value))
    except AddressValueError:
        raise InvalidInput.of("address", str(value)[:64], "an IPv4 address") from None


def _span(value: object) -> timedelta | None:
    if value is None or value in _NEVER_EXPIRES:
        return None
    span = parse_go_duration(str(value))
    if span is None or span <= timedelta():
        raise InvalidInput.of("spec.expiredDuration", str(value)[:64], "a duration such as 24h")
    return span


def _part(found: Found, name: str) -> dict[str, Any]:
    part = found.get(name)
    return part if isinstance(part, dict) else {}


def _name_of(found: Found) -> str:
    metadata = found["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
