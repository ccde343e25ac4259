"""Rules of kube-proxy's and portmap's shape on a node, and TCP through them.

A service address, or a port of the node's own addresses, is translated to a backend before it
is routed, for what comes in and for what the node itself sends. What policy `Cluster` must
answer by this node is marked and masqueraded, as kube-proxy does.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from shared.kernel import nftables as nft
from shared.kernel.netns import socket_in

# The expressions that only these rules need are built of the module's own parts.
from shared.kernel.nft_encoding import Expression, expression, number, value

_TABLE = "kube-proxy"
_PRIORITY_DESTINATION_NAT = -100
_MASQUERADE_MARK = 0x4000
_LOCAL = 2
_ALL_BITS = 0xFFFF_FFFF
_TCP = 6
_FIRST, _SECOND = 8, 9
_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`address` None: a port of the node's own addresses (nodePort, hostPort)."""

    address: IPv4Address | None
    port: int
    backend: IPv4Address
    backend_port: int
    is_masqueraded: bool = False  # externalTrafficPolicy Cluster


def serve(netns: int, *services: Service) -> None:
    """Make a node's rules exactly these."""
    with nft.Nftables(netns) as tables:
        changes = [
            nft.add_table(_TABLE),
            nft.delete_table(_TABLE),
            nft.add_table(_TABLE),
            *(
                nft.add_chain(
                    _TABLE, name, hook=hook, priority=_PRIORITY_DESTINATION_NAT, kind="nat"
                )
                for name, hook in (("in", nft.HOOK_PREROUTING), ("own", nft.HOOK_OUTPUT))
            ),
            nft.add_chain(
                _TABLE,
                "out",
                hook=nft.HOOK_POSTROUTING,
                priority=nft.PRIORITY_SOURCE_NAT,
                kind="nat",
            ),
            nft.add_rule(
                _TABLE,
                "out",
                nft.load_mark(),
                nft.mask(_MASQUERADE_MARK),
                nft.equals(nft.own_order(_MASQUERADE_MARK)),
                nft.masquerade(),
            ),
        ]
        changes += [
            nft.add_rule(_TABLE, chain, *_translate(service))
            for service in services
            for chain in ("in", "own")
        ]
        tables.commit(changes)


def _translate(service: Service) -> list[Expression]:
    to = (
        [nft.load_destination(), nft.equals(service.address.packed)]
        if service.address is not None
        else [nft.load_destination_type(), nft.equals(nft.own_order(_LOCAL))]
    )
    marked = (
        [
            nft.load_mark(),
            nft.mask(_ALL_BITS ^ _MASQUERADE_MARK, xor=_MASQUERADE_MARK),
            nft.store_mark(),
        ]
        if service.is_masqueraded
        else []
    )
    return [
        *to,
        expression("meta", number(1, _FIRST), number(2, 16)),  # the protocol
        nft.equals(bytes([_TCP])),
        nft.payload(_FIRST, base=2, offset=2, length=2),  # the destination port
        nft.equals(struct.pack(">H", service.port)),
        *marked,
        expression("immediate", number(1, _FIRST), value(2, service.backend.packed)),
        expression(
            "immediate",
            number(1, _SECOND),
            value(2, struct.pack(">H", service.backend_port)),
        ),
        expression("nat", number(1, 1), number(2, 2), number(3, _FIRST), number(5, _SECOND)),
    ]


def ask(
    client_netns: int,
    to: tuple[IPv4Address, int],
    server_netns: int,
    at: tuple[IPv4Address, int],
) -> str | None:
    """Connect to `to`, be answered by who listens at `at`: the source that it saw, or None."""
    with (
        socket_in(server_netns, socket.AF_INET, socket.SOCK_STREAM) as server,
        socket_in(client_netns, socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((str(at[0]), at[1]))
        server.listen()
        server.settimeout(_TIMEOUT_S)
        client.setblocking(False)
        if client.connect_ex((str(to[0]), to[1])) not in (0, errno.EINPROGRESS):
            return None
        try:
            connection, seen = server.accept()
        except TimeoutError:
            return None
        with connection:
            connection.sendall(b"hello")
            client.settimeout(_TIMEOUT_S)
            try:
                return str(seen[0]) if client.recv(5) == b"hello" else None
            except OSError:
                return None
