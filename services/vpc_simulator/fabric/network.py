"""Instances and their ENIs: compared with what is wanted, changed where it differs."""

from __future__ import annotations

import errno
import logging
import os
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from services.vpc_simulator.ports import EniPort
from shared.errors import InvalidInput, NotFound
from shared.ids import EniId, InstanceId, SubnetId
from shared.kernel.addresses import add_address
from shared.kernel.changes import Changes
from shared.kernel.conversation import Conversation, NetlinkError
from shared.kernel.links import link_by_mac, set_up
from shared.kernel.netns import new_netns, socket_in
from shared.kernel.routes import DEFAULT, Route, add_route

from .router import Router

log = logging.getLogger(__name__)

# The world outside of the VPC (TEST-NET-2): a host that answers ping, with a route back.
OUTSIDE: Final = InstanceId("outside")
OUTSIDE_ADDRESS: Final = IPv4Address("198.51.100.1")
_OUTSIDE_GATEWAY: Final = IPv4Address("198.51.100.254")
_OUTSIDE_CIDR: Final = IPv4Network("198.51.100.0/24")
_OUTSIDE_MAC: Final = "02:be:00:00:00:02"

_LOOPBACK: Final = 1
_LISTEN_BACKLOG: Final = 128


@dataclass(slots=True)
class _Eni:
    """An ENI as it is: `port` None while it has no link, `sources` what that port may send."""

    wanted: EniPort
    port: int | None = None
    sources: set[IPv4Address] = field(default_factory=set)

    def is_placed_as(self, wanted: EniPort) -> bool:
        now = self.wanted
        return (now.instance, now.device_index, now.mac) == (
            wanted.instance,
            wanted.device_index,
            wanted.mac,
        )


class Network:
    """All namespaces of the fabric. Everything here is done when a call returns."""

    def __init__(self) -> None:
        self._router = Router()
        self._subnets: dict[SubnetId, tuple[IPv4Network, IPv4Address]] = {}
        self._instances: dict[InstanceId, int] = {}
        self._enis: dict[EniId, _Eni] = {}
        self._make_outside()

    def watch(self) -> Changes:
        """Tells when it may be time for `repair`."""
        return self._router.watch()

    def set_subnet(self, subnet: SubnetId, cidr: IPv4Network, gateway: IPv4Address) -> None:
        self._router.add_subnet(cidr, gateway)
        self._subnets[subnet] = (cidr, gateway)

    def set_instance(self, instance: InstanceId) -> int:
        """The instance's namespace, made if there is none yet."""
        if instance not in self._instances:
            netns = new_netns()
            self._instances[instance] = netns
            with Conversation(netns) as kernel:
                kernel.do([set_up(_LOOPBACK)])
        return self._instances[instance]

    def remove_instance(self, instance: InstanceId) -> None:
        if instance == OUTSIDE:
            raise InvalidInput.of("instance", instance, "one of the VPC's own")
        for eni in self._enis.values():
            if eni.wanted.instance == instance:
                self._unplug(eni)
        netns = self._instances.pop(instance, None)
        if netns is not None:
            os.close(netns)

    def set_eni(self, wanted: EniPort) -> None:
        if wanted.subnet not in self._subnets:
            raise NotFound(f"subnet {wanted.subnet!r} has not been made")
        if wanted.instance is not None and wanted.instance not in self._instances:
            raise NotFound(f"instance {wanted.instance!r} has not been made")
        eni = self._enis.setdefault(wanted.eni, _Eni(wanted))
        if not eni.is_placed_as(wanted):
            self._unplug(eni)
        eni.wanted = wanted
        self._settle(eni)

    def remove_eni(self, name: EniId) -> None:
        eni = self._enis.pop(name, None)
        if eni is not None:
            self._unplug(eni)

    def repair(self) -> int:
        """Make the links again that died with a pod's namespace; how many."""
        live = self._router.live_ports()
        lost = [eni for eni in self._enis.values() if eni.port and eni.port not in live]
        for eni in lost:
            log.info("the link of an ENI is made again", extra={"eni": eni.wanted.eni})
            self._unplug(eni)
            self._settle(eni)
        return len(lost)

    def listen(self, instance: InstanceId, address: IPv4Address, port: int) -> socket.socket:
        """A listening socket inside the instance, at an address that only it has."""
        if instance not in self._instances:
            raise NotFound(f"instance {instance!r} has not been made")
        netns = self._instances[instance]
        if not address.is_loopback:
            with Conversation(netns) as kernel:
                kernel.do([add_address(_LOOPBACK, IPv4Interface(address))])
        sock = socket_in(netns, socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((str(address), port))
            sock.listen(_LISTEN_BACKLOG)
        except OSError:
            sock.close()
            raise
        return sock

    def drops(self) -> int:
        return self._router.drops()

    def _settle(self, eni: _Eni) -> None:
        """Plug the link in where it is wanted, and deliver what is wanted."""
        wanted = eni.wanted
        if wanted.instance is not None and wanted.instance in self._instances:
            if eni.port is None:
                self._plug(eni, self._instances[wanted.instance])
            assert eni.port is not None, "a plugged ENI has a port"
            gone, new = eni.sources - wanted.addresses, wanted.addresses - eni.sources
            self._router.withdraw(eni.port, sorted(gone))
            eni.sources -= gone
            self._router.deliver(eni.port, wanted.mac, sorted(new))
            eni.sources |= new

    def _plug(self, eni: _Eni, netns: int) -> None:
        """A new link, down; only the primary ENI is configured, as a cloud's image does it."""
        name = f"eth{eni.wanted.device_index or 0}"
        try:
            eni.port = self._router.add_port(name, eni.wanted.mac, netns)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            # Somebody on the instance uses the name: the kernel takes the next free one.
            eni.port = self._router.add_port("eth%d", eni.wanted.mac, netns)
        if eni.wanted.device_index == 0:
            cidr, gateway = self._subnets[eni.wanted.subnet]
            address = IPv4Interface((eni.wanted.primary_address, cidr.prefixlen))
            try:
                _configure(netns, eni.wanted.mac, address, gateway)
            except OSError:
                self._unplug(eni)
                raise

    def _unplug(self, eni: _Eni) -> None:
        if eni.port is not None:
            self._router.remove_port(eni.port, sorted(eni.sources))
        eni.port = None
        eni.sources.clear()

    def _make_outside(self) -> None:
        netns = self.set_instance(OUTSIDE)
        self._router.add_subnet(_OUTSIDE_CIDR, _OUTSIDE_GATEWAY)
        port = self._router.add_port("eth0", _OUTSIDE_MAC, netns)
        self._router.deliver(port, _OUTSIDE_MAC, [OUTSIDE_ADDRESS])
        address = IPv4Interface((OUTSIDE_ADDRESS, _OUTSIDE_CIDR.prefixlen))
        _configure(netns, _OUTSIDE_MAC, address, _OUTSIDE_GATEWAY)


def _configure(netns: int, mac: str, address: IPv4Interface, gateway: IPv4Address) -> None:
    """What DHCP would have done."""
    with Conversation(netns) as kernel:
        link = link_by_mac(kernel, mac)
        if link is None:
            raise NetlinkError(errno.ENODEV, f"configure the link {mac}")
        kernel.do(
            [
                add_address(link.index, address),
                set_up(link.index),
                add_route(Route(to=DEFAULT, link=link.index, gateway=gateway)),
            ]
        )
