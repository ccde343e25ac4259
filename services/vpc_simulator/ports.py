"""What the simulated cloud needs of a network: the model decides, the fabric obeys.

Every call is absolute and may be repeated: the fabric compares with what it has and changes
what differs. A call returns when packets obey it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from shared.ids import EniId, InstanceId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class EniPort:
    """One ENI as the network sees it."""

    eni: EniId
    subnet: SubnetId
    mac: str  # aa:bb:cc:dd:ee:ff
    primary_address: IPv4Address
    addresses: frozenset[IPv4Address]  # all that it delivers and may send, the primary included
    instance: InstanceId | None  # where its link is; None while detached
    device_index: int | None  # 0 is the instance's primary ENI


class Fabric(Protocol):
    """A network in which an address works only on the ENI it is assigned to."""

    async def set_subnet(
        self, subnet: SubnetId, cidr: IPv4Network, gateway: IPv4Address
    ) -> None:
        """Make a subnet with its gateway."""
        ...

    async def set_instance(self, instance: InstanceId) -> None:
        """Make an instance: a network namespace with nothing but its loopback."""
        ...

    async def remove_instance(self, instance: InstanceId) -> None:
        """Take an instance away; its ENIs were detached before."""
        ...

    async def set_eni(self, port: EniPort) -> None:
        """Make the ENI's port and link what `port` says: place, MAC and addresses."""
        ...

    async def remove_eni(self, eni: EniId) -> None:
        """Take the port and its link away, wherever the link is."""
        ...

    async def aclose(self) -> None:
        """Take the whole network away."""
        ...


class NoFabric:
    """The wireless mode: a cloud of any size without a packet."""

    async def set_subnet(
        self, subnet: SubnetId, cidr: IPv4Network, gateway: IPv4Address
    ) -> None:
        return

    async def set_instance(self, instance: InstanceId) -> None:
        return

    async def remove_instance(self, instance: InstanceId) -> None:
        return

    async def set_eni(self, port: EniPort) -> None:
        return

    async def remove_eni(self, eni: EniId) -> None:
        return

    async def aclose(self) -> None:
        return
