"""Where cloud, store and agents tell different things of an address (pure).

Each book is right about one thing: the eni_manager about where an address is at the cloud, the
store about who holds a fixed lease, the agent about who uses an address on its node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final

from shared.addresses import AddressState
from shared.annotations import DeletePolicy
from shared.ids import UNKNOWN_NETWORK
from shared.messages.base import BATCH_MAX
from shared.messages.clusters import EniView, NodeView
from shared.messages.leases import LeaseView
from shared.messages.nodes import Inventory, InventoryEntry, OfferedAddress, UnusedLease

_PRIMARY: Final = "primary"
_QUARANTINED: Final = "quarantined"
_ON_A_NODE: Final = frozenset({AddressState.BOUND_FIXED, AddressState.RETAINED})


class Code(StrEnum):
    """Stable: scripts look for them."""

    USED_TWICE = "used-twice"
    NOT_AT_CLOUD = "not-at-cloud"
    UNCLAIMED = "unclaimed"
    QUARANTINED = "quarantined"
    LEASE_ELSEWHERE = "lease-elsewhere"
    LEASE_UNUSED = "lease-unused"
    BOUND_WITHOUT_LEASE = "bound-without-lease"
    NOT_REPORTED = "not-reported"
    NOT_WIRED = "not-wired"
    HOLDER_UNKNOWN = "holder-unknown"


TO_DO: Final[dict[Code, str]] = {
    Code.USED_TWICE: "delete the pod on the node that the cloud does not name, and report it",
    Code.NOT_AT_CLOUD: "--repair has an idle one struck off; of one in use restart the pod",
    Code.UNCLAIMED: "--repair has the node compared with the cloud: it is offered or kept back",
    Code.QUARANTINED: "look who uses it, then unassign it at the cloud",
    Code.LEASE_ELSEWHERE: "--repair has the node compared with the cloud; else start its pod"
    " again: the address is moved to it",
    Code.LEASE_UNUSED: "--repair has its agent release it: it is kept for its next pod",
    Code.BOUND_WITHOUT_LEASE: "delete the pod: it gets its lease anew",
    Code.NOT_REPORTED: "--repair has its agent report again",
    Code.NOT_WIRED: "--repair has its agent make it anew; else restart the pod",
    Code.HOLDER_UNKNOWN: "delete the pod that has it: it is kept back until that has ended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One address of which the books differ."""

    code: Code
    address: IPv4Address
    node: str | None
    detail: str

    @property
    def key(self) -> tuple[Code, IPv4Address, str | None]:
        """What makes it the same finding at the next look."""
        return self.code, self.address, self.node


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What each part said at about the same moment."""

    nodes: list[NodeView]
    inventories: list[Inventory]
    leases: list[LeaseView]
    unread: dict[str, str] = field(default_factory=dict)  # book, and why it was not read


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    node: str
    eni: EniView


def compare(books: Books) -> list[Finding]:
    """Every difference, in the order of addresses. Agents that are away are left out."""
    places = {
        address: _Place(node=node.node, eni=eni)
        for node in books.nodes
        for eni in node.enis
        if eni.state != _PRIMARY
        for address in eni.addresses
    }
    entries: dict[IPv4Address, list[tuple[str, InventoryEntry]]] = defaultdict(list)
    for inventory in books.inventories:
        for entry in inventory.addresses:
            entries[entry.address].append((inventory.node, entry))
    leases = {each.address: each for each in books.leases if _is_fixed(each)}
    heard = {each.node for each in books.inventories}
    found = [
        *_agents(places, entries, leases),
        *_cloud(places, entries, leases, heard),
        *_leases(places, entries, leases.values(), heard),
        *_reports(books.leases, entries),
    ]
    return sorted(found, key=lambda each: (each.address, each.code))


def _is_fixed(lease: LeaseView) -> bool:
    return lease.policy is DeletePolicy.NEVER


def _agents(
    places: dict[IPv4Address, _Place],
    entries: dict[IPv4Address, list[tuple[str, InventoryEntry]]],
    leases: dict[IPv4Address, LeaseView],
) -> Iterator[Finding]:
    for address, held in entries.items():
        if len(held) > 1:
            nodes = ", ".join(sorted(node for node, _ in held))
            detail = f"in the books of {len(held)} nodes: {nodes}"
            yield Finding(code=Code.USED_TWICE, address=address, node=None, detail=detail)
        for node, entry in held:
            place = places.get(address)
            if place is None or (place.node, place.eni.eni) != (node, entry.eni):
                where = "nowhere" if place is None else f"{place.eni.eni} of node {place.node}"
                detail = f"{entry.state} on {entry.eni} says its agent; the cloud says {where}"
                yield Finding(code=Code.NOT_AT_CLOUD, address=address, node=node, detail=detail)
            if entry.is_wired is False:
                detail = f"{entry.state}, and its pod's link, route or rule is missing or down"
                yield Finding(code=Code.NOT_WIRED, address=address, node=node, detail=detail)
            if entry.attachment is not None and entry.attachment.network == UNKNOWN_NETWORK:
                link = entry.attachment.container_id
                detail = f"link {link} leads to a pod that the agent has no record of"
                yield Finding(
                    code=Code.HOLDER_UNKNOWN, address=address, node=node, detail=detail
                )
            lease = leases.get(address)
            if entry.state is AddressState.BOUND_FIXED and (
                lease is None or lease.node != node or _generation(lease) < _generation(entry)
            ):
                told = "no lease" if lease is None else f"it {lease.state} on {lease.node}"
                detail = f"bound there as generation {entry.generation}; the store has {told}"
                yield Finding(
                    code=Code.BOUND_WITHOUT_LEASE, address=address, node=node, detail=detail
                )


def _generation(of: LeaseView | InventoryEntry) -> int:
    return of.generation or 0


def _cloud(
    places: dict[IPv4Address, _Place],
    entries: dict[IPv4Address, list[tuple[str, InventoryEntry]]],
    leases: dict[IPv4Address, LeaseView],
    heard: set[str],
) -> Iterator[Finding]:
    for address, place in places.items():
        kept = {each.address: each for each in place.eni.held_back}.get(address)
        where = f"on {place.eni.eni}"
        if kept is not None and kept.hold == _QUARANTINED:
            detail = f"{where}, kept back: {kept.reason or 'no reason told'}"
            yield Finding(
                code=Code.QUARANTINED, address=address, node=place.node, detail=detail
            )
        is_claimed = address in entries or address in leases or kept is not None
        if place.node in heard and not is_claimed:
            detail = f"{where} at the cloud, in no agent's book and no lease's"
            yield Finding(code=Code.UNCLAIMED, address=address, node=place.node, detail=detail)


def _leases(
    places: dict[IPv4Address, _Place],
    entries: dict[IPv4Address, list[tuple[str, InventoryEntry]]],
    leases: Iterable[LeaseView],
    heard: set[str],
) -> Iterator[Finding]:
    for lease in leases:
        if lease.state not in _ON_A_NODE:
            continue
        place = places.get(lease.address)
        if place is None or (place.node, place.eni.eni) != (lease.node, lease.eni):
            where = "nowhere" if place is None else f"on {place.eni.eni} of node {place.node}"
            yield _of_lease(
                Code.LEASE_ELSEWHERE, lease, f"on {lease.eni}; at the cloud it is {where}"
            )
        users = {node: entry.state for node, entry in entries.get(lease.address, ())}
        is_used = users.get(lease.node or "") is AddressState.BOUND_FIXED
        if lease.state is AddressState.BOUND_FIXED and lease.node in heard and not is_used:
            yield _of_lease(Code.LEASE_UNUSED, lease, "and its agent has no pod on it")


def _of_lease(code: Code, lease: LeaseView, what: str) -> Finding:
    identity = lease.identity
    name = f"{identity.namespace}/{identity.name}" if identity else "nobody"
    detail = f"the lease of {name} is {lease.state} on node {lease.node}, {what}"
    return Finding(code=code, address=lease.address, node=lease.node, detail=detail)


def _reports(
    leases: Iterable[LeaseView],
    entries: dict[IPv4Address, list[tuple[str, InventoryEntry]]],
) -> Iterator[Finding]:
    """What agents have told the store of addresses that are their own."""
    told = {
        (each.address, each.node)
        for each in leases
        if each.state is AddressState.BOUND_IMMEDIATE
    }
    for address, held in entries.items():
        for node, entry in held:
            is_bound = entry.state is AddressState.BOUND_IMMEDIATE
            if is_bound != ((address, node) in told):
                said = "does not have it so" if is_bound else "has it bound there"
                detail = f"{entry.state} on its node; the store {said}"
                yield Finding(code=Code.NOT_REPORTED, address=address, node=node, detail=detail)


def lost_on(node: str, books: Books, findings: Iterable[Finding]) -> tuple[OfferedAddress, ...]:
    """Idle addresses in this agent's book that the cloud does not have there."""
    lost = {it.address for it in findings if (it.code, it.node) == (Code.NOT_AT_CLOUD, node)}
    return tuple(
        OfferedAddress(address=entry.address, eni=entry.eni)
        for inventory in books.inventories
        if inventory.node == node
        for entry in inventory.addresses
        if entry.address in lost and entry.state is AddressState.STOCK
    )[:BATCH_MAX]


def unused_on(node: str, books: Books, findings: Iterable[Finding]) -> tuple[UnusedLease, ...]:
    """Leases that the store has bound on this node, and no pod there has."""
    unused = {it.address for it in findings if (it.code, it.node) == (Code.LEASE_UNUSED, node)}
    return tuple(
        UnusedLease(
            identity=lease.identity,
            attachment=lease.attachment,
            pod_uid=lease.pod_uid,
            address=lease.address,
            eni=lease.eni,
            generation=lease.bound_generation,
        )
        for lease in books.leases
        if lease.address in unused
        and lease.identity is not None
        and lease.attachment is not None
        and lease.pod_uid is not None
        and lease.eni is not None
        and lease.bound_generation is not None
    )[:BATCH_MAX]
