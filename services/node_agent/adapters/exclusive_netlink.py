"""ENIs that move into sandboxes and back, over netlink.

A link that leaves a namespace loses addresses and routes, and arrives down. A device of real
hardware comes back by itself when its namespace ends; then there is nothing to fetch.
"""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Network
from typing import Final

from services.node_agent.domain.exclusive import SandboxEni
from services.node_agent.domain.wiring import EVERYWHERE, PROTOCOL
from shared.errors import InvalidInput, Unavailable
from shared.kernel import addresses, links, routes
from shared.kernel.conversation import Conversation
from shared.kernel.netns import netns_inode, open_netns, open_own_netns, socket_in
from shared.kernel.sysctl import link_path, read_sysctl, write_sysctl

from .refusals import refusals

_NAME_AT_HOME: Final = "eth%d"  # the kernel puts the next free number
_LOOSE: Final = "2"  # rp_filter: what came by one link may be answered by the other


class ExclusiveNetlink:
    """The kernel of the namespace that the constructing thread is in."""

    def __init__(self) -> None:
        with refusals("open netlink"):
            self._host = Conversation()
            self._home = open_own_netns()

    def close(self) -> None:
        self._host.close()
        os.close(self._home)

    def take_in(self, eni: SandboxEni, netns_fd: int) -> None:
        """Into the sandbox, configured and up; its second link is there. Raises BerthError."""
        with refusals(f"ENI {eni.mac}"):
            link = links.link_by_mac(self._host, eni.mac)
            if link is None:
                raise Unavailable(f"ENI {eni.mac}: its link is not on this node")
            with Conversation(netns_fd) as sandbox:
                if links.link_by_name(sandbox, eni.ifname) is not None:
                    raise InvalidInput(f"CNI_IFNAME: {eni.ifname!r} is taken in the sandbox")
                self._host.do(
                    [
                        links.set_down(link.index),
                        links.move(link.index, netns_fd, name=eni.ifname),
                    ]
                )
                self._configure(eni, sandbox, netns_fd)

    def bring_back(self, mac: str, netns_path: str) -> bool:
        """Into the node's namespace, down and without addresses. It may be back already.
        False when it is in neither namespace."""
        with refusals(f"ENI {mac}"):
            self._fetch(mac, netns_path)
            link = links.link_by_mac(self._host, mac)
            if link is None:
                return False
            stale = [
                each
                for each in addresses.link_addresses(self._host)
                if each.index == link.index
            ]
            self._host.do(
                [
                    links.set_down(link.index),
                    *(addresses.delete_address(each.index, each.address) for each in stale),
                ]
            )
            return True

    def wrong(self, eni: SandboxEni, netns_fd: int) -> tuple[str, ...]:
        """What is missing or wrong in the sandbox, in words; empty when all is there."""
        with refusals(f"check ENI {eni.mac}"), Conversation(netns_fd) as sandbox:
            link = links.link_by_name(sandbox, eni.ifname)
            if link is None or link.mac != eni.mac:
                return (f"{eni.ifname} in the sandbox is not ENI {eni.mac}",)
            wrong = [] if link.is_up else [f"{eni.ifname} is down"]
            here = addresses.LinkAddress(link.index, eni.address)
            if here not in addresses.link_addresses(sandbox):
                wrong.append(f"{eni.ifname} lacks address {eni.address}")
            veth = links.link_by_name(sandbox, eni.veth_ifname)
            found = set(routes.routes(sandbox))
            wrong += [
                f"the sandbox lacks the route to {route.to}"
                for route in _routes(eni, link.index, veth.index if veth else 0)
                if route not in found
            ]
            wrong += [
                f"rp_filter of {name} in the sandbox is not {_LOOSE}"
                for name in (eni.ifname, eni.veth_ifname)
                if veth is not None
                and read_sysctl(link_path(name, "rp_filter"), netns=netns_fd) != _LOOSE
            ]
            return tuple(wrong)

    def _configure(self, eni: SandboxEni, sandbox: Conversation, netns_fd: int) -> None:
        link = links.link_by_name(sandbox, eni.ifname)
        veth = links.link_by_name(sandbox, eni.veth_ifname)
        if link is None or veth is None:
            raise Unavailable(f"ENI {eni.mac}: the sandbox lost a link while it was wired")
        for name in (eni.ifname, eni.veth_ifname):  # before a packet comes in
            write_sysctl(link_path(name, "rp_filter"), _LOOSE, netns=netns_fd)
        sandbox.do(
            [
                addresses.add_address(link.index, eni.address),
                links.set_up(link.index),
                *(routes.add_route(each) for each in _routes(eni, link.index, veth.index)),
            ]
        )
        with socket_in(netns_fd, socket.AF_INET, socket.SOCK_DGRAM) as probe:
            links.settle_carrier(probe, eni.ifname)  # else its first packets may be dropped

    def _fetch(self, mac: str, netns_path: str) -> None:
        """Out of the sandbox, if that still exists and is one."""
        try:
            sandbox_fd = open_netns(netns_path)
        except OSError:
            return
        try:
            if netns_inode(sandbox_fd) == netns_inode(self._home):
                return
            try:
                sandbox = Conversation(sandbox_fd)
            except OSError:  # the path names another thing by now
                return
            with sandbox:
                link = links.link_by_mac(sandbox, mac)
                if link is not None:
                    sandbox.do(
                        [
                            links.set_down(link.index),
                            links.move(link.index, self._home, name=_NAME_AT_HOME),
                        ]
                    )
        finally:
            os.close(sandbox_fd)


def _routes(eni: SandboxEni, index: int, veth_index: int) -> tuple[routes.Route, ...]:
    """The default by the ENI; what the node serves by the veth, under the pod's address."""
    default = routes.Route(to=EVERYWHERE, link=index, gateway=eni.gateway, protocol=PROTOCOL)
    return (default, *(_by_veth(eni, to, veth_index) for to in eni.by_veth))


def _by_veth(eni: SandboxEni, to: IPv4Network, veth_index: int) -> routes.Route:
    return routes.Route(
        to=to,
        link=veth_index,
        gateway=eni.veth_gateway,
        source=eni.address.ip,
        protocol=PROTOCOL,
    )
