"""The node's namespace over netlink: one conversation for the host, one for each pod's side.

A pod's wire is two batches: the host side first, its veth end strict about sources before the
pod's end is up, so that no packet of the pod ever meets a half-made wire.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import struct
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from services.node_agent.domain.ports import Link, Observed, PodEnd
from services.node_agent.domain.requests import POD_GATEWAY
from services.node_agent.domain.wiring import (
    EVERYWHERE,
    PROTOCOL,
    Ingress,
    LinkAddress,
    PodWire,
    Route,
    Rule,
    Sysctl,
)
from shared.errors import InvalidInput
from shared.kernel import addresses, links, neighbours, routes
from shared.kernel.conntrack import NETFILTER, forget_connections
from shared.kernel.conversation import Conversation, NetlinkError
from shared.kernel.conversation import Request as Netlink
from shared.kernel.netns import netns_inode, open_netns, open_own_netns
from shared.kernel.sysctl import link_path, read_sysctl, set_sysctl, write_sysctl

from .ingress import IngressTable
from .observation import Observer
from .refusals import refusals
from .sources import SourceTable

# Chosen here, so that one batch can make a link and use it; far above what the kernel counts.
_INDEX_MIN: Final = 1 << 24
_INDEX_MAX: Final = (1 << 30) - 1
_DOOMED_GROUP: Final = 0x6265_7274  # of links only while they are deleted
_SIOCGIFHWADDR: Final = 0x8927
_IFREQ: Final = struct.Struct("16sH6s16x")


class NetlinkKernel:
    """The kernel of the namespace that the constructing thread is in."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        with refusals("open netlink"):
            self._host = Conversation()
            self._ioctl = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._ingress = IngressTable()
            self._sources = SourceTable()
            self._home = open_own_netns()
        self._inode = netns_inode(self._home)
        self._observer = Observer(self._host)

    def close(self) -> None:
        self._host.close()
        self._ioctl.close()
        self._ingress.close()
        self._sources.close()
        os.close(self._home)

    @property
    def port(self) -> int:
        """Who the kernel names as the author of what is changed here."""
        return self._host.port

    def links(self) -> tuple[Link, ...]:
        with refusals("list links"):
            return self._observer.links()

    def wire_pod(self, wire: PodWire, netns_fd: int) -> None:
        """Make both sides. An old host link of this name goes first. Raises BerthError."""
        if netns_inode(netns_fd) == self._inode:
            raise InvalidInput.of("CNI_NETNS", "the node's own namespace", "a sandbox's")
        with refusals(f"wire {wire.host_ifname}"):
            try:
                pod = Conversation(netns_fd, home=self._home)
            except OSError as error:
                raise InvalidInput(
                    f"CNI_NETNS: cannot be entered ({error.strerror}); allowed: the path of a"
                    " network namespace"
                ) from error
            with pod:
                if wire.mark:
                    self._sources.give({wire.pod.address: wire.mark})
                host_index, pod_index = self._new_index(), self._new_index()
                self._add_veth(wire, host_index, pod_index, netns_fd)
                for setting in wire.sysctls:
                    with suppress(FileNotFoundError):  # a kernel without IPv6
                        set_sysctl(_path(setting), setting.allowed[0])
                self._host.do(
                    [
                        links.set_up(host_index, alias=wire.label),
                        *(routes.add_route(_kernel_route(r, host_index)) for r in wire.routes),
                    ]
                )
                pod.do(_pod_requests(wire, pod_index))
                links.settle_carrier(self._ioctl, wire.host_ifname)

    def rewire_pod(self, wire: PodWire, netns_path: str) -> None:
        """Make anew what of both sides is gone. Raises BerthError."""
        with refusals(f"open {netns_path}"):
            netns = open_netns(netns_path)
        try:
            self.unwire_pod(wire)  # rules do not go with their link
            self.wire_pod(wire, netns)
        finally:
            os.close(netns)

    def unwire_pod(self, wire: PodWire) -> None:
        """Its routes are gone when this returns, and without them nothing of the pod's passes
        the strict filter of its link. What is not there is no error."""
        index = self._index_of(wire.host_ifname, wire.host_mac)
        if index is None:
            return
        with refusals(f"unwire {wire.host_ifname}"):
            self._host.do(
                [routes.delete_route(_kernel_route(route, index)) for route in wire.routes]
            )

    def pod_end(self, host: Link, netns_path: str) -> PodEnd | None:
        """None: the path names no namespace, or another than the one that this leads to."""
        try:
            netns = open_netns(netns_path)
        except OSError:
            return None
        try:
            return _pod_end(host, netns)
        except OSError:  # a file, not a namespace
            return None
        finally:
            os.close(netns)

    def remove_links(self, ends: Sequence[tuple[str, str]]) -> None:
        """Delete those that still have their MAC; their peers go with them."""
        found = [self._index_of(name, mac) for name, mac in ends]
        here = [index for index in found if index is not None]
        with refusals(f"delete {len(here)} links"):
            if len(here) == 1:
                self._host.do([links.delete_link(here[0])])
            elif here:
                self._host.do(
                    [
                        *(links.set_group(index, _DOOMED_GROUP) for index in here),
                        links.delete_group(_DOOMED_GROUP),
                    ]
                )

    def check_pod(self, wire: PodWire, netns_fd: int) -> tuple[str, ...]:
        """What of the wire is missing or wrong, in words; empty when all is there."""
        wrong = []
        with refusals(f"check {wire.host_ifname}"):
            observed = self.observe()
            host = next((x for x in observed.links if x.name == wire.host_ifname), None)
            if host is None or host.mac != wire.host_mac:
                wrong.append(f"host link {wire.host_ifname} is missing")
            elif not host.is_up:
                wrong.append(f"host link {wire.host_ifname} is down")
            wrong += [
                f"route to {route.destination} in table {route.table} is missing"
                for route in wire.routes
                if route not in observed.routes
            ]
            wrong += [
                f"rule {rule.priority} is missing"
                for rule in wire.node_rules
                if rule not in observed.rules
            ]
            if wire.mark and self._sources.read().get(wire.pod.address) != wire.mark:
                wrong.append(f"source {wire.pod.address} lacks its mark {wire.mark}")
            with Conversation(netns_fd) as pod:
                wrong += _wrong_in_pod(wire, pod)
        return tuple(wrong)

    def observe(self) -> Observed:
        with refusals("observe"):
            return self._observer.observe()

    def add(self, thing: Route | Rule | LinkAddress) -> None:
        """Make it. What exists already is no error; a route of its place is replaced."""
        with refusals(f"add {thing}"):
            match thing:
                case Route():
                    index = socket.if_nametoindex(thing.link)
                    request = routes.add_route(_kernel_route(thing, index))
                case Rule():
                    request = routes.add_rule(_kernel_rule(thing))
                case LinkAddress():
                    index = socket.if_nametoindex(thing.link)
                    request = addresses.add_address(index, IPv4Interface(thing.address))
            self._host.do([request])

    def remove(self, thing: Route | Rule | LinkAddress) -> None:
        """Take it away. What is gone already is no error."""
        with refusals(f"remove {thing}"):
            match thing:
                case Rule():
                    self._host.do([routes.delete_rule(_kernel_rule(thing))])
                case Route() if index := _nametoindex(thing.link):
                    self._host.do([routes.delete_route(_kernel_route(thing, index))])
                case LinkAddress() if index := _nametoindex(thing.link):
                    gone = addresses.delete_address(index, IPv4Interface(thing.address))
                    self._host.do([gone])

    def set_up(self, link: str) -> None:
        with refusals(f"set {link} up"):
            self._host.do([links.set_up(socket.if_nametoindex(link))])
            links.settle_carrier(self._ioctl, link)
            links.settle_carrier(self._ioctl, link)

    def set_mac(self, link: str, mac: str) -> None:
        with refusals(f"set {link} to {mac}"):
            self._host.do([links.set_mac(socket.if_nametoindex(link), mac)])

    def set_label(self, link: str, label: str) -> None:
        with refusals(f"label {link}"):
            self._host.do([links.set_alias(socket.if_nametoindex(link), label)])

    def keep_setting(self, setting: Sysctl) -> bool:
        """Write it if it does not hold what is allowed; whether it had drifted."""
        with refusals(f"setting {'.'.join(setting.key)}"):
            try:
                if read_sysctl(_path(setting)) in setting.allowed:
                    return False
            except FileNotFoundError:  # a kernel without IPv6, or a link that just went
                return False
            return write_sysctl(_path(setting), setting.allowed[0])

    def give_marks(self, marks: Mapping[IPv4Address, int]) -> None:
        with refusals("marks of sources"):
            self._sources.give(marks)

    def keep_marks(self, marks: Mapping[IPv4Address, int]) -> bool:
        with refusals("marks of sources"):
            return self._sources.keep(marks)

    def marks(self) -> Mapping[IPv4Address, int]:
        with refusals("marks of sources"):
            return self._sources.read()

    def keep_ingress(self, ingress: Ingress | None) -> bool:
        """Our nftables table as wanted; whether it had drifted."""
        with refusals("nftables"):
            return self._ingress.keep(ingress)

    def forget_connections(self, addresses: Collection[IPv4Address]) -> None:
        """No packet is let through or translated for what they were used by before."""
        with refusals("forget connections"), Conversation(family=NETFILTER) as conntrack:
            forget_connections(conntrack, addresses)

    def _add_veth(self, wire: PodWire, host_index: int, pod_index: int, netns_fd: int) -> None:
        request = links.add_veth(
            links.VethEnd(name=wire.host_ifname, mac=wire.host_mac, index=host_index),
            links.VethEnd(
                name=wire.pod.ifname, mac=wire.pod.mac, index=pod_index, netns=netns_fd
            ),
            mtu=wire.pod.mtu,
        )
        if self._host.try_all([request]) == [0]:
            return
        old = _nametoindex(wire.host_ifname)
        if old is not None:  # the pod's former sandbox, whose link waits for its deletion
            self._host.do([links.delete_link(old)])
        try:
            self._host.do([request])
        except NetlinkError as error:
            if error.errno == errno.EEXIST:
                raise InvalidInput(
                    f"CNI_IFNAME: {wire.pod.ifname!r} is taken in the sandbox"
                ) from error
            raise

    def _index_of(self, name: str, mac: str) -> int | None:
        """The link's index, if it has this MAC: a successor of the same name is not meant."""
        try:
            asked = _IFREQ.pack(name.encode(), 0, bytes(6))
            answer = fcntl.ioctl(self._ioctl, _SIOCGIFHWADDR, asked)
            _, _, found = _IFREQ.unpack(answer[: _IFREQ.size])
            return socket.if_nametoindex(name) if found.hex(":") == mac else None
        except OSError:
            return None

    def _new_index(self) -> int:
        return self._rng.randint(_INDEX_MIN, _INDEX_MAX)


def _pod_end(host: Link, netns: int) -> PodEnd | None:
    with Conversation(netns) as pod:
        # An index that was chosen at random is no other link's.
        end = next((each for each in links.links(pod) if each.peer_index == host.index), None)
        if end is None:
            return None
        here = [each for each in routes.routes(pod) if each.link == end.index]
        return PodEnd(
            netns_inode=netns_inode(netns),
            ifname=end.name,
            mac=end.mac,
            by_gateway=tuple(sorted(each.to for each in here if each.gateway == POD_GATEWAY)),
        )


def _pod_requests(wire: PodWire, index: int) -> list[Netlink]:
    pod = wire.pod
    return [
        addresses.add_address(index, IPv4Interface(pod.address)),
        links.set_up(index),
        neighbours.add_neighbour(_gateway_neighbour(wire, index)),
        *(routes.add_route(route) for route in _pod_routes(wire, index)),
    ]


def _pod_routes(wire: PodWire, index: int) -> tuple[routes.Route, ...]:
    gateway = wire.pod.gateway
    to_gateway = routes.Route(to=IPv4Network(gateway), link=index, protocol=PROTOCOL)
    if not wire.pod.has_default:
        return (to_gateway,)
    return (
        to_gateway,
        routes.Route(to=EVERYWHERE, link=index, gateway=gateway, protocol=PROTOCOL),
    )


def _gateway_neighbour(wire: PodWire, index: int) -> neighbours.Neighbour:
    return neighbours.Neighbour(link=index, address=wire.pod.gateway, mac=wire.pod.gateway_mac)


def _wrong_in_pod(wire: PodWire, pod: Conversation) -> list[str]:
    link = links.link_by_name(pod, wire.pod.ifname)
    if link is None:
        return [f"{wire.pod.ifname} is missing in the sandbox"]
    wrong = []
    if link.mac != wire.pod.mac:
        wrong.append(f"{wire.pod.ifname} has MAC {link.mac}, not {wire.pod.mac}")
    if not link.is_up:
        wrong.append(f"{wire.pod.ifname} is down")
    here = addresses.LinkAddress(link.index, IPv4Interface(wire.pod.address))
    if here not in addresses.link_addresses(pod):
        wrong.append(f"{wire.pod.ifname} lacks address {wire.pod.address}")
    found = set(routes.routes(pod))
    wrong += [
        f"the sandbox lacks the route to {route.to}"
        for route in _pod_routes(wire, link.index)
        if route not in found
    ]
    if _gateway_neighbour(wire, link.index) not in neighbours.neighbours(pod):
        wrong.append(f"the sandbox lacks the neighbour {wire.pod.gateway}")
    return wrong


def _kernel_route(route: Route, index: int) -> routes.Route:
    return routes.Route(
        to=route.destination,
        link=index,
        gateway=route.via,
        table=route.table,
        is_onlink=route.is_onlink,
        protocol=PROTOCOL,
    )


def _kernel_rule(rule: Rule) -> routes.Rule:
    return routes.Rule(
        priority=rule.priority,
        table=rule.table,
        source=rule.source,
        to=rule.destination,
        mark=rule.mark,
        mask=rule.mask,
        protocol=PROTOCOL,
    )


def _path(setting: Sysctl) -> str:
    match setting.key:
        case ("net", "ipv4", "conf", link, name):
            return link_path(link, name)
        case ("net", *rest):
            return "/".join(rest)
    raise AssertionError(f"not a network sysctl: {setting.key}")


def _nametoindex(link: str) -> int | None:
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return None
