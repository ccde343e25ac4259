"""Rules of kube-proxy's and portmap's shape on a node, and TCP through them.

A service address, or a port of the node's own addresses, is translated to a backend before it
is routed, for what comes in and for what the node itself sends. What policy `Cluster` must
answer by this node is marked and masqueraded, and so is what a backend asks itself. In iptables
mode the chains are kube-proxy's of old, and what conntrack calls invalid is not forwarded; in
nftables mode a map leads from address, protocol and port to the service's chain.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final

from shared.kernel import nft_sets
from shared.kernel import nftables as nft
from shared.kernel.netns import socket_in

# The expressions that only these rules need are built of the module's own parts.
from shared.kernel.nft_encoding import Expression, expression, nest, number, text, value

_PRIORITY_RAW: Final = -300
_PRIORITY_DESTINATION_NAT: Final = -100
_MASQUERADE_MARK: Final = 0x4000
_LOCAL: Final = 2
_INVALID: Final = 1  # of a connection's states
_ALL_BITS: Final = 0xFFFF_FFFF
_TCP: Final = 6
_FIRST, _SECOND, _THIRD = 8, 9, 10
_JUMP, _RETURN = -3, -5
_TIMEOUT_S: Final = 1.0


class Mode(StrEnum):
    IPTABLES = "iptables"
    NFTABLES = "nftables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`address` None: a port of the node's own addresses (nodePort, hostPort)."""

    address: IPv4Address | None
    port: int
    backend: IPv4Address
    backend_port: int
    is_masqueraded: bool = False  # externalTrafficPolicy Cluster

    @property
    def chain(self) -> str:
        return f"svc-{self.address or 'node'}-{self.port}"


def serve(netns: int, *services: Service, mode: Mode = Mode.NFTABLES) -> None:
    """Make a node's rules exactly these."""
    made = _iptables(services) if mode is Mode.IPTABLES else _nftables(services)
    with nft.Nftables(netns) as tables:
        tables.commit(list(made))


def do_not_track(netns: int, *addresses: IPv4Address) -> None:
    """As NodeLocal DNS asks for its addresses, before conntrack looks."""
    with nft.Nftables(netns) as tables:
        changes = list(_emptied("raw"))
        for chain, hook in (("PREROUTING", nft.HOOK_PREROUTING), ("OUTPUT", nft.HOOK_OUTPUT)):
            changes.append(nft.add_chain("raw", chain, hook=hook, priority=_PRIORITY_RAW))
            changes += [
                nft.add_rule("raw", chain, end, nft.equals(each.packed), expression("notrack"))
                for each in addresses
                for end in (nft.load_destination(), nft.load_source())
            ]
        tables.commit(changes)


def _iptables(services: Iterable[Service]) -> Iterator[nft.Change]:
    yield from _emptied("nat")
    for chain in ("KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"):
        yield nft.add_bare_chain("nat", chain)
    yield nft.add_rule("nat", "KUBE-MARK-MASQ", *_set_mark())
    for service in services:
        yield from _service_chain("nat", service)
        yield nft.add_rule("nat", "KUBE-SERVICES", *_selected(service), _jump(service.chain))
    for chain, hook in (("PREROUTING", nft.HOOK_PREROUTING), ("OUTPUT", nft.HOOK_OUTPUT)):
        yield _nat_chain("nat", chain, hook, _PRIORITY_DESTINATION_NAT)
        yield nft.add_rule("nat", chain, _jump("KUBE-SERVICES"))
    yield _nat_chain("nat", "POSTROUTING", nft.HOOK_POSTROUTING, nft.PRIORITY_SOURCE_NAT)
    yield nft.add_rule("nat", "POSTROUTING", _jump("KUBE-POSTROUTING"))
    yield nft.add_rule("nat", "KUBE-POSTROUTING", *_is_unmarked(), _verdict(_RETURN))
    yield nft.add_rule("nat", "KUBE-POSTROUTING", *_clear_mark())
    yield nft.add_rule("nat", "KUBE-POSTROUTING", nft.masquerade())

    yield from _emptied("filter")
    yield nft.add_chain(
        "filter", "FORWARD", hook=nft.HOOK_FORWARD, priority=nft.PRIORITY_FILTER
    )
    yield nft.add_bare_chain("filter", "KUBE-FORWARD")
    yield nft.add_rule("filter", "FORWARD", _jump("KUBE-FORWARD"))
    yield nft.add_rule("filter", "KUBE-FORWARD", *_is_invalid(), nft.drop())


def _nftables(services: Iterable[Service]) -> Iterator[nft.Change]:
    table = "kube-proxy"
    yield from _emptied(table)
    for chain in ("services", "KUBE-MARK-MASQ"):
        yield nft.add_bare_chain(table, chain)
    yield nft.add_rule(table, "KUBE-MARK-MASQ", *_set_mark())
    for name, key_bytes in (("service-ips", 12), ("service-nodeports", 8)):
        yield nft_sets.add_chain_map(table, name, key_bytes=key_bytes)
    for service in services:
        yield from _service_chain(table, service)
        protocol_and_port = struct.pack(">B3xH2x", _TCP, service.port)
        name, key = ("service-nodeports", protocol_and_port)
        if service.address is not None:
            name, key = ("service-ips", service.address.packed + protocol_and_port)
        yield from nft_sets.add_to_map(table, name, {key: service.chain})
    yield nft.add_rule(
        table,
        "services",
        nft.load_destination(_FIRST),
        _protocol(_SECOND),
        _port(_THIRD),
        nft_sets.go_by_map("service-ips"),
    )
    yield nft.add_rule(
        table,
        "services",
        nft.load_destination_type(),
        nft.equals(nft.own_order(_LOCAL)),
        _protocol(_FIRST),
        _port(_SECOND),
        nft_sets.go_by_map("service-nodeports"),
    )
    for chain, hook in (
        ("nat-prerouting", nft.HOOK_PREROUTING),
        ("nat-output", nft.HOOK_OUTPUT),
    ):
        yield _nat_chain(table, chain, hook, _PRIORITY_DESTINATION_NAT)
        yield nft.add_rule(table, chain, _jump("services"))
    yield _nat_chain(table, "nat-postrouting", nft.HOOK_POSTROUTING, nft.PRIORITY_SOURCE_NAT)
    yield nft.add_rule(table, "nat-postrouting", *_is_unmarked(), _verdict(_RETURN))
    yield nft.add_rule(table, "nat-postrouting", *_clear_mark(), nft.masquerade())


def _emptied(table: str) -> tuple[nft.Change, ...]:
    return nft.add_table(table), nft.delete_table(table), nft.add_table(table)


def _nat_chain(table: str, chain: str, hook: int, priority: int) -> nft.Change:
    return nft.add_chain(table, chain, hook=hook, priority=priority, kind="nat")


def _service_chain(table: str, service: Service) -> Iterator[nft.Change]:
    """To the one backend; what it asks itself is masqueraded, else it would answer itself."""
    yield nft.add_bare_chain(table, service.chain)
    if service.is_masqueraded:
        yield nft.add_rule(table, service.chain, _jump("KUBE-MARK-MASQ"))
    yield nft.add_rule(
        table,
        service.chain,
        nft.load_source(),
        nft.equals(service.backend.packed),
        _jump("KUBE-MARK-MASQ"),
    )
    yield nft.add_rule(
        table,
        service.chain,
        _protocol(_FIRST),  # a translation to a port asks for it
        nft.equals(bytes([_TCP])),
        expression("immediate", number(1, _FIRST), value(2, service.backend.packed)),
        expression(
            "immediate",
            number(1, _SECOND),
            value(2, struct.pack(">H", service.backend_port)),
        ),
        expression("nat", number(1, 1), number(2, 2), number(3, _FIRST), number(5, _SECOND)),
    )


def _selected(service: Service) -> tuple[Expression, ...]:
    to = (
        (nft.load_destination(), nft.equals(service.address.packed))
        if service.address is not None
        else (nft.load_destination_type(), nft.equals(nft.own_order(_LOCAL)))
    )
    return (
        *to,
        _protocol(_FIRST),
        nft.equals(bytes([_TCP])),
        _port(_FIRST),
        nft.equals(struct.pack(">H", service.port)),
    )


def _protocol(register: int) -> Expression:
    return expression("meta", number(1, register), number(2, 16))


def _port(register: int) -> Expression:
    return nft.payload(register, base=2, offset=2, length=2)


def _set_mark() -> tuple[Expression, ...]:
    bits = nft.mask(_ALL_BITS ^ _MASQUERADE_MARK, xor=_MASQUERADE_MARK)
    return nft.load_mark(), bits, nft.store_mark()


def _is_unmarked() -> tuple[Expression, ...]:
    return nft.load_mark(), nft.mask(_MASQUERADE_MARK), nft.equals(nft.own_order(0))


def _clear_mark() -> tuple[Expression, ...]:
    return nft.load_mark(), nft.mask(_ALL_BITS, xor=_MASQUERADE_MARK), nft.store_mark()


def _is_invalid() -> tuple[Expression, ...]:
    state = expression("ct", number(1, _FIRST), number(2, 0))
    return state, nft.mask(_INVALID), nft.differs(nft.own_order(0))


def _jump(chain: str) -> Expression:
    return expression(
        "immediate", number(1, 0), nest(2, nest(2, number(1, _JUMP), text(2, chain)))
    )


def _verdict(code: int) -> Expression:
    return expression("immediate", number(1, 0), nest(2, nest(2, number(1, code))))


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
