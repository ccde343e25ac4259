"""An ENI of this node, as far as the wire needs to know it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from shared.ids import EniId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Eni:
    """What the cloud says of an ENI; its link is found by MAC."""

    eni: EniId
    subnet: SubnetId
    mac: str
    primary_address: IPv4Address
    subnet_cidr: IPv4Network
    gateway: IPv4Address  # the subnet's first address
    is_primary: bool = False  # the instance's own: never carries pods
    is_exclusive: bool = False  # one pod has the whole of it: its link moves into the sandbox

    @property
    def is_shared(self) -> bool:
        return not self.is_primary and not self.is_exclusive
