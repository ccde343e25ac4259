"""The router in the middle: every ENI is one of its ports, and nothing is bridged.

An address has a /32 route to the port of the ENI it is assigned to, and a permanent neighbour
at that ENI's MAC: what a node answers to ARP decides nothing. Towards the node, the router
answers ARP for the gateway and for every address it has a route to by another port. What comes
in by a port from a source that is not in the set of (port, address) is dropped and counted. An
address that nobody has is unreachable.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from shared.kernel import nft_sets
from shared.kernel import nftables as nft
from shared.kernel.addresses import add_address
from shared.kernel.changes import Changes, Kind
from shared.kernel.conversation import Conversation
from shared.kernel.links import VethEnd, add_veth, delete_link, set_up
from shared.kernel.neighbour_tables import answer_proxied_arp_at_once
from shared.kernel.neighbours import (
    Neighbour,
    add_neighbour,
    delete_neighbour,
)
from shared.kernel.netns import in_netns, new_netns
from shared.kernel.routes import Route, add_route, delete_route
from shared.kernel.sysctl import link_path, write_sysctl

PORT_MAC: Final = "02:be:00:00:00:01"  # every port's: all of them are the gateway
MTU_BYTES: Final = 1500

_LOOPBACK: Final = 1
_TABLE: Final = "fabric"
_CHAIN: Final = "sources"
_SET: Final = "rights"
_PRIORITY_RAW: Final = -300  # before anything looks at the packet
_FIRST_PORT: Final = 1000

_SETTINGS: Final = (
    ("ipv4/ip_forward", "1"),
    # The set of rights is the source check; rp_filter would also drop ARP that a node sends
    # by one ENI with the address of another.
    (link_path("all", "rp_filter"), "0"),
    (link_path("default", "rp_filter"), "0"),
    (link_path("default", "proxy_arp"), "1"),
    (link_path("all", "send_redirects"), "0"),
    (link_path("default", "send_redirects"), "0"),
    # The gateways' addresses are on the loopback link, and every port answers for them.
    (link_path("all", "arp_ignore"), "0"),
    (link_path("default", "arp_ignore"), "0"),
)


class Router:
    """Its namespace, and conversations with it. Ports are told by the index of their link."""

    def __init__(self) -> None:
        self._netns = new_netns()
        self._kernel = Conversation(self._netns)
        self._tables = nft.Nftables(self._netns)
        self._next_port = _FIRST_PORT
        for path, value in _SETTINGS:
            write_sysctl(path, value, netns=self._netns)
        self._kernel.do([set_up(_LOOPBACK)])
        self._tables.commit(
            [
                nft.add_table(_TABLE),
                nft.add_chain(_TABLE, _CHAIN, hook=nft.HOOK_PREROUTING, priority=_PRIORITY_RAW),
                nft_sets.add_set(_TABLE, _SET, key_bytes=8),
                nft.add_rule(
                    _TABLE,
                    _CHAIN,
                    nft.load_iif(8),
                    nft.load_source(9),
                    nft_sets.not_in_set(_SET),
                    nft.counter(),
                    nft.drop(),
                ),
            ]
        )

    def close(self) -> None:
        self._tables.close()
        self._kernel.close()
        os.close(self._netns)

    def watch(self) -> Changes:
        """Tells when a port has come or gone."""
        return Changes(Kind.LINK, netns=self._netns)

    def add_subnet(self, cidr: IPv4Network, gateway: IPv4Address) -> None:
        self._kernel.do(
            [
                add_address(_LOOPBACK, IPv4Interface(gateway)),
                # Also keeps the router silent when somebody asks by ARP for what nobody has.
                add_route(Route(to=cidr)),
            ]
        )

    def add_port(self, name: str, mac: str, netns: int) -> int:
        """A link called `name` in the namespace, down, at a new port. Raises NetlinkError."""
        port = self._next_port
        self._next_port += 1
        here = VethEnd(name=f"port{port}", mac=PORT_MAC, index=port)
        there = VethEnd(name=name, mac=mac, netns=netns)
        self._kernel.do([add_veth(here, there, mtu=MTU_BYTES)])
        self._kernel.do([set_up(port), answer_proxied_arp_at_once(port)])
        return port

    def remove_port(self, port: int, addresses: Iterable[IPv4Address]) -> None:
        """With the link at it, wherever that is. `addresses`: those it may send from."""
        self._forbid(port, addresses)
        self._kernel.do([delete_link(port)])

    def live_ports(self) -> frozenset[int]:
        """Those whose link still exists: it dies with the namespace it is in."""
        with in_netns(self._netns):
            return frozenset(index for index, _ in socket.if_nameindex())

    def deliver(self, port: int, mac: str, addresses: Iterable[IPv4Address]) -> None:
        """These addresses are reached by the port, and may be sent from there."""
        wanted = tuple(addresses)
        if not wanted:
            return
        rights = [nft_sets.port_and_address(port, address) for address in wanted]
        self._tables.commit(nft_sets.add_elements(_TABLE, _SET, rights))
        neighbours = [
            add_neighbour(Neighbour(link=port, address=address, mac=mac)) for address in wanted
        ]
        routes = [add_route(_route(port, address)) for address in wanted]
        # Neighbours first: nobody is asked by ARP, not even for the first packet.
        self._kernel.do([*neighbours, *routes])

    def withdraw(self, port: int, addresses: Iterable[IPv4Address]) -> None:
        """These are not the port's any more; if another port has one by now, it keeps it."""
        gone = tuple(addresses)
        if not gone:
            return
        self._kernel.do(
            [
                *(delete_route(_route(port, address)) for address in gone),
                *(delete_neighbour(port, address) for address in gone),
            ]
        )
        self._forbid(port, gone)

    def drops(self) -> int:
        """Packets that came from a source their port has no right to."""
        return sum(self._tables.packets(_TABLE, _CHAIN))

    def _forbid(self, port: int, addresses: Iterable[IPv4Address]) -> None:
        rights = [nft_sets.port_and_address(port, address) for address in addresses]
        if rights:
            self._tables.commit(nft_sets.delete_elements(_TABLE, _SET, rights))


def _route(port: int, address: IPv4Address) -> Route:
    return Route(to=IPv4Network(address), link=port)
