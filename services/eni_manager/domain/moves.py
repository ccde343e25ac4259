"""Whether a move is authorised, and on which ENI of its node the address may arrive (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from shared.addresses import AddressState
from shared.errors import BerthError, QuotaReached, Stale, WrongSubnet
from shared.ids import EniId, Identity, NodeName, SubnetId, Zone

from .placement import EniRoom


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    identity: Identity
    address: IPv4Address
    subnet: SubnetId
    from_eni: EniId | None
    to_node: NodeName
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedLease:
    """As much of a lease as a move is judged by."""

    address: IPv4Address
    state: AddressState
    generation: int
    moving_to: NodeName | None  # None: not moving, or nowhere
    is_exclusive: bool = False  # the address is an ENI's own: they are never parted
    has_place: bool = True  # False: a pod named the address, and it was never brought yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Parking:
    """An ENI, or an address of one, that is to leave its node; with the lease whose it is."""

    identity: Identity
    address: IPv4Address
    eni: EniId
    node: NodeName
    generation: int


def check_parking(parking: Parking, lease: FixedLease | None) -> None:
    """Only the lease's own step to nowhere allows the cloud call. Raises Stale."""
    if lease is None or lease.address != parking.address:
        raise Stale(f"{parking.identity} has no lease of {parking.address}")
    is_step = lease.state is AddressState.MOVING and lease.moving_to is None
    if not is_step or lease.generation != parking.generation:
        raise Stale(
            f"the lease of {parking.identity} is {lease.state} at generation"
            f" {lease.generation}: at {parking.generation} it may not leave its node"
        )


def check_authorised(move: Move, lease: FixedLease | None) -> FixedLease:
    """The lease whose own moving step, to this node, allows the cloud call. Raises Stale."""
    if lease is None:
        raise Stale(f"{move.identity} has no lease: a move needs its moving step")
    if lease.state is not AddressState.MOVING or lease.generation != move.generation:
        raise Stale(
            f"the lease of {move.identity} is {lease.state} at generation {lease.generation}:"
            f" a move of generation {move.generation} is not authorised"
        )
    if lease.moving_to != move.to_node or lease.address != move.address:
        raise Stale(
            f"the lease of {move.identity} moves {lease.address} to node {lease.moving_to}, not"
            f" {move.address} to {move.to_node}"
        )
    return lease


def choose_eni(subnet: SubnetId, enis: Sequence[EniRoom]) -> EniId | None:
    """The fullest ENI of the subnet that has room for one more."""
    fitting = [each for each in enis if each.subnet == subnet and each.room > 0]
    return min(fitting, key=lambda it: (it.room, it.eni)).eni if fitting else None


def no_place(move: Move, zone: Zone | None, subnet_zone: Zone | None) -> BerthError:
    """Why the node cannot take the address, and where it could live."""
    if subnet_zone is None or zone != subnet_zone:
        return WrongSubnet(
            f"{move.address} of {move.identity} belongs to subnet {move.subnet} in zone"
            f" {subnet_zone or 'unknown'}; node {move.to_node} is in zone {zone}: schedule the"
            f" pod on a node of {subnet_zone or 'that zone'}"
        )
    return QuotaReached(
        f"{move.address} of {move.identity} needs an ENI in subnet {move.subnet} (zone"
        f" {subnet_zone}): node {move.to_node} has no room on one and no slot for another;"
        " free an address there or schedule the pod on another node of the zone"
    )


def no_slot(move: Move, eni: EniId, enis_max: int | None) -> BerthError:
    """Why an address that is held on an ENI of no instance cannot come to the node."""
    return QuotaReached(
        f"{move.address} of {move.identity} is held on {eni}, which is on no instance: node"
        f" {move.to_node} has no slot for another ENI (of {enis_max}); free one there or let"
        " the pod run on another node of the zone"
    )
