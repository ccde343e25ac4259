"""How tests speak of a small VPC: two subnets, instances, ENIs by number."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from services.vpc_simulator.fabric.namespace_fabric import NamespaceFabric
from services.vpc_simulator.ports import EniPort
from shared.ids import EniId, InstanceId, SubnetId
from shared.kernel.addresses import add_address
from shared.kernel.conversation import Conversation
from shared.kernel.links import Link, link_by_mac, links
from shared.kernel.netns import open_netns
from shared.messages.base import EniFields
from tests.support.probes import ping

SUBNETS = {
    SubnetId("subnet-a"): (IPv4Network("10.0.1.0/24"), IPv4Address("10.0.1.1")),
    SubnetId("subnet-b"): (IPv4Network("10.0.2.0/24"), IPv4Address("10.0.2.1")),
}


_PINGS = 3


@dataclass(slots=True)
class Vpc:
    """The fabric, and how a test speaks of it."""

    fabric: NamespaceFabric
    opened: dict[InstanceId, int] = field(default_factory=dict)

    def netns(self, instance: str) -> int:
        name = InstanceId(instance)
        if name not in self.opened:
            self.opened[name] = open_netns(self.fabric.namespaces.instances[name])
        return self.opened[name]

    def links(self, instance: str) -> dict[str, Link]:
        with Conversation(self.netns(instance)) as kernel:
            return {link.name: link for link in links(kernel) if link.name != "lo"}

    def configure(self, instance: str, mac: str, address: IPv4Address) -> None:
        """Give a link of an instance an address, as an agent or a liar would."""
        with Conversation(self.netns(instance)) as kernel:
            link = link_by_mac(kernel, mac)
            assert link is not None, f"{instance} has no link {mac}"
            kernel.do([add_address(link.index, IPv4Interface(address))])

    def reaches(
        self, instance: str, to: IPv4Address, *, source: IPv4Address | None = None
    ) -> bool:
        # A link that has just come up may lose its first packet: one answer is enough.
        netns = self.netns(instance)
        return any(ping(netns, to, source=source) is not None for _ in range(_PINGS))

    def close(self) -> None:
        for descriptor in self.opened.values():
            os.close(descriptor)


def eni(
    number: int,
    instance: str | None,
    device_index: int | None,
    *,
    subnet: str = "subnet-a",
) -> EniPort:
    """ENI `number` has the subnet's address 10 + number, and a MAC that ends in it."""
    cidr, _ = SUBNETS[SubnetId(subnet)]
    primary = cidr.network_address + 10 + number
    return EniPort(
        eni=EniId(f"eni-{number}"),
        subnet=SubnetId(subnet),
        mac=f"20:90:6f:00:00:{number:02x}",
        primary_address=primary,
        addresses=frozenset({primary}),
        instance=InstanceId(instance) if instance is not None else None,
        device_index=device_index,
    )


def with_addresses(port: EniPort, *more: IPv4Address) -> EniPort:
    return replace(port, addresses=port.addresses | set(more))


def fields_of(port: EniPort, *, is_exclusive: bool = False) -> EniFields:
    cidr, gateway = SUBNETS[port.subnet]
    return EniFields(
        eni=port.eni,
        subnet=port.subnet,
        mac=port.mac,
        primary_address=port.primary_address,
        subnet_cidr=cidr,
        gateway=gateway,
        is_primary=port.device_index == 0,
        is_exclusive=is_exclusive,
    )
