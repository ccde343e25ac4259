"""Which of another component's fixed addresses become leases here, and why others not (pure).

What is taken is attested of that component: a claim is named as its pod, an address object as
its address. A pod that asks for a fixed address and has one without a claim counts as one. A
lease is adopted without a place: when its pod comes, the cloud tells which ENI has the address,
or it is assigned by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any, Final

import yaml
from pydantic import ValidationError

from berth.imported_pods import LivePod
from shared.addresses import AddressState
from shared.annotations import DeletePolicy, NetworkMode, parse_go_duration
from shared.errors import InvalidInput
from shared.kubernetes.definitions import IDENTITY
from shared.messages.base import IdentityFields
from shared.messages.recovery import BackedUpLease
from shared.messages.subnet_uses import AddressUse

NETWORK: Final = "berth"  # the name of our CNI network: of the identities that pods get
BYTES_MAX: Final = 256 << 20
_CLAIM: Final = "VpcIPClaim"
_ADDRESS: Final = "VpcIP"
_NEVER_EXPIRES: Final = ("", "0", "0s")
_ENI: Final = "ENI"  # the cloud's words for what has an address
_RESERVED: Final = "RESERVE"

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is so beside the claims, as far as it was asked."""

    pods: Sequence[LivePod] = ()
    uses: Mapping[IPv4Address, AddressUse] | None = None  # at the cloud; None: not asked
    leased: Mapping[IPv4Address, IdentityFields] = field(default_factory=dict)  # here already


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A claim that becomes a lease, and where its address is now."""

    claim: str
    lease: BackedUpLease
    place: str | None  # None: the cloud was not asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Unadopted:
    """A claim that is left alone, and why."""

    claim: str
    reason: str


@dataclass(slots=True)
class Adoption:
    adopted: list[Adopted] = field(default_factory=list)
    known: int = 0  # leases that are here already
    refused: list[Unadopted] = field(default_factory=list)

    @property
    def leases(self) -> list[BackedUpLease]:
        return [each.lease for each in self.adopted]


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
    objects: Iterable[Found],
    subnets: Mapping[str, IPv4Network],
    now: datetime,
    seen: Seen | None = None,
) -> Adoption:
    """`subnets`: the container subnets of this cluster. Each claim is a lease, or refused."""
    judge = _Judge(subnets, now, seen or Seen())
    listed = list(objects)
    claims = [each for each in listed if each.get("kind") == _CLAIM]
    addresses = _claimed([each for each in listed if each.get("kind") == _ADDRESS])
    for claim in sorted(claims, key=_name_of):
        judge.judge_claim(claim, addresses.get(_name_of(claim)))
    claimed = set(map(_name_of, claims))
    for pod in judge.seen.pods:
        if pod.is_fixed and pod.name not in claimed:
            judge.judge_pod(pod)
    return judge.found


class _Judge:
    """One claim after the other: the first that names an address has it."""

    def __init__(self, subnets: Mapping[str, IPv4Network], now: datetime, seen: Seen) -> None:
        self.found = Adoption()
        self.seen = seen
        self._subnets = subnets
        self._now = now
        self._holders: dict[IPv4Address, str] = {}
        self._pods = {each.name: each for each in seen.pods}
        self._users = {each.address: each for each in seen.pods}

    def judge_claim(self, claim: Found, claimed: object) -> None:
        name = _name_of(claim)
        try:
            self._take(name, self._lease(claim, claimed))
        except InvalidInput as error:
            self.found.refused.append(Unadopted(claim=name, reason=str(error)))

    def judge_pod(self, pod: LivePod) -> None:
        """One without a claim: only the cloud's word makes its address one of the VPC."""
        name = pod.name
        if pod.address in self.seen.leased:  # of its workload, where its own name is random
            self.found.known += 1
            return
        try:
            network = pod.check_fixed()
            if network.mode is NetworkMode.EXCLUSIVE:
                raise InvalidInput("its ENI is another component's, and is not taken over")
            namespace, _, local = name.partition("/")
            lease = self._parked(namespace, local, pod.address, network.expires_after)
            if self.seen.uses is not None and pod.address not in self.seen.uses:
                raise InvalidInput(f"the cloud has {pod.address} on no ENI")
            self._take(name, lease)
        except InvalidInput as error:
            self.found.refused.append(Unadopted(claim=name, reason=str(error)))

    def _take(self, name: str, lease: BackedUpLease) -> None:
        address = lease.address
        if self.seen.leased.get(address) == lease.identity:
            self._holders[address] = name
            self.found.known += 1
            return
        self._check_pods(name, address)
        place = self._place(name, address)
        if address in self._holders:
            raise InvalidInput(f"{address} is {self._holders[address]}'s, too")
        self._holders[address] = name
        self.found.adopted.append(Adopted(claim=name, lease=lease, place=place))

    def _check_pods(self, name: str, address: IPv4Address) -> None:
        pod = self._pods.get(name)
        if pod is not None and pod.address != address:
            raise InvalidInput(
                f"its pod runs on {pod.address} on node {pod.node}, not on {address}"
            )
        user = self._users.get(address)
        if user is not None and user.name != name:
            raise InvalidInput(f"pod {user.name} on node {user.node} has {address}")

    def _place(self, name: str, address: IPv4Address) -> str | None:
        """Where the cloud has it. Raises InvalidInput where its pod could never get it."""
        if self.seen.uses is None:
            return None
        use = self.seen.uses.get(address)
        if use is None:
            if name in self._pods:
                raise InvalidInput(f"its pod runs on {address}, which the cloud has nowhere")
            return "free"
        where = f"{use.resource or use.kind}{_of_node(use)}"
        if use.is_given:
            raise InvalidInput(
                f"{address} is on {where} for any pod of that node: drain its subnet, or wait"
                " until it is given back"
            )
        if use.kind not in (_ENI, _RESERVED):
            raise InvalidInput(f"{address} is used by {use.kind} {use.resource}".rstrip())
        return where if use.is_ours or use.kind == _RESERVED else f"{where}, not ours"

    def _lease(self, claim: Found, claimed: object) -> BackedUpLease:
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
        identity = (claim["metadata"].get("annotations") or {}).get(IDENTITY)
        if identity is not None and "#" in str(identity):
            raise InvalidInput(
                f"it is {identity} of another Berth, whose pods have random names:"
                " `berth backup` there and `berth restore` here take it along"
            )
        return self._parked(
            str(claim["metadata"].get("namespace", "")),
            str(claim["metadata"].get("name", "")),
            _address(status.get("vpcIP") or spec.get("vpcIP") or claimed),
            _span(spec.get("expiredDuration")),
        )

    def _parked(
        self, namespace: str, name: str, address: IPv4Address, span: timedelta | None
    ) -> BackedUpLease:
        homes = [subnet for subnet, cidr in self._subnets.items() if address in cidr]
        if not homes:
            known = ", ".join(f"{subnet} {cidr}" for subnet, cidr in self._subnets.items())
            raise InvalidInput.of(
                "address", str(address), f"one of a container subnet ({known or 'none'})"
            )
        try:
            identity = IdentityFields(namespace=namespace, name=name, network=NETWORK)
        except ValidationError:
            raise InvalidInput.of(
                "metadata", f"{namespace}/{name}", "a namespace and a name, each of 1 to 253"
            ) from None
        return BackedUpLease(
            identity=identity,
            address=address,
            state=AddressState.PARKED,
            generation=1,
            subnet=homes[0],
            since=self._now,  # its span begins anew: what was counted before is not known
            expires_after=span,
        )


def _of_node(use: AddressUse) -> str:
    if use.node is not None:
        return f" of node {use.node}"
    return f" of instance {use.instance}" if use.instance is not None else ""


def _claimed(addresses: Sequence[Found]) -> dict[str, str]:
    """Address objects that name their claim, by that name."""
    found = {}
    for each in addresses:
        spec = _part(each, "spec")
        claim = spec.get("claimRef")
        if isinstance(claim, dict) and claim.get("name"):
            place = f"{claim.get('namespace', '')}/{claim['name']}"
        else:
            place = str(spec.get("claim") or "")  # as another Berth shows it
        if place:
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
