"""Whether an address that a pod names for itself may become its lease (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from shared.annotations import NOMINATED_IP
from shared.clusters import Cluster, SubnetState
from shared.errors import InvalidInput
from shared.ids import Identity, SubnetId

from .cluster_checks import SubnetLook
from .container_subnets import find
from .leases import Nomination

_RESERVED: Final = (0, 1, -1)  # of a subnet: its own address, its gateway's, its broadcast


def nomination_of(
    identity: Identity,
    address: IPv4Address,
    current: Cluster,
    looks: Mapping[str, SubnetLook],
) -> Nomination:
    """With the subnet that the address is in. Raises InvalidInput."""
    field = f"{NOMINATED_IP} of {identity}"
    look = next((each for each in looks.values() if address in each.cidr), None)
    if look is None:
        known = ", ".join(f"{each.subnet} ({each.cidr})" for each in looks.values())
        raise InvalidInput.of(field, str(address), f"an address of a container subnet: {known}")
    if address in _reserved(look.cidr):
        raise InvalidInput.of(
            field,
            str(address),
            f"an address of {look.subnet} ({look.cidr}) besides its first two and its last,"
            " which the cloud keeps",
        )
    state = find(current, SubnetId(look.subnet)).state
    if state is not SubnetState.OPEN:
        raise InvalidInput.of(
            field, str(address), f"an address of an open subnet: {look.subnet} is {state}"
        )
    return Nomination(address=address, subnet=look.subnet)


def _reserved(cidr: IPv4Network) -> tuple[IPv4Address, ...]:
    return tuple(cidr[number] for number in _RESERVED)
