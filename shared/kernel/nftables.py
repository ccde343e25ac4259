"""nftables without `nft`: tables of our own, changed in atomic transactions.

A rule is a list of expressions, each a few nested attributes; this file holds the dozen that
Berth needs. Values that the kernel compares with packet bytes are in network order, links'
indexes and marks in the machine's own.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import Final

from .conversation import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkError
from .conversation import split_messages as split
from .netns import socket_in
from .nft_encoding import (
    Expression,
    attribute,
    expression,
    nest,
    number,
    read,
    text,
    value,
    walk,
)

_NETFILTER: Final = 12
_SUBSYSTEM: Final = 10 << 8
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _NEWRULE, _GETRULE = 3, 6, 7
_GETSETELEM: Final = 13
_ERROR, _DONE = 2, 3
_IPV4: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
_RECEIVE_BYTES: Final = 1 << 18
_TIMEOUT_S: Final = 10.0

HOOK_PREROUTING, HOOK_INPUT, HOOK_FORWARD, HOOK_OUTPUT, HOOK_POSTROUTING = range(5)
PRIORITY_MANGLE: Final = -150
PRIORITY_FILTER: Final = 0
PRIORITY_SOURCE_NAT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One message of a transaction."""

    what: str
    kind: int
    flags: int
    body: bytes
    family: int = _IPV4
    forgiven: frozenset[int] = frozenset()


# Registers: a concatenation of 4-byte values lies in 8, 9, …
_FIRST: Final = 8


def load_iif(register: int = _FIRST) -> Expression:
    """The index of the link a packet came in by."""
    return expression("meta", number(1, register), number(2, 4))


def load_oif(register: int = _FIRST) -> Expression:
    """The index of the link a packet is about to leave by."""
    return expression("meta", number(1, register), number(2, 5))


def load_iif_name() -> Expression:
    """The name of the link a packet came in by."""
    return expression("meta", number(1, _FIRST), number(2, 6))


def load_oif_name() -> Expression:
    """The name of the link a packet is about to leave by."""
    return expression("meta", number(1, _FIRST), number(2, 7))


def load_mark(register: int = _FIRST) -> Expression:
    return expression("meta", number(1, register), number(2, 3))


def store_mark(register: int = _FIRST) -> Expression:
    return expression("meta", number(2, 3), number(3, register))


def load_connection_mark(register: int = _FIRST) -> Expression:
    return expression("ct", number(1, register), number(2, 3))


def store_connection_mark(register: int = _FIRST) -> Expression:
    return expression("ct", number(2, 3), number(4, register))


def load_connection_status() -> Expression:
    return expression("ct", number(1, _FIRST), number(2, 2))


def load_source(register: int = _FIRST) -> Expression:
    """The IPv4 source address."""
    return payload(register, base=1, offset=12, length=4)


def load_destination(register: int = _FIRST) -> Expression:
    return payload(register, base=1, offset=16, length=4)


def load_destination_type(register: int = _FIRST) -> Expression:
    """What the routing tables hold the destination for: 2 is "this machine"."""
    return expression("fib", number(1, register), number(2, 3), number(3, 2))


def payload(register: int, *, base: int, offset: int, length: int) -> Expression:
    return expression(
        "payload",
        number(1, register),
        number(2, base),
        number(3, offset),
        number(4, length),
    )


def mask(bits: int, *, xor: int = 0) -> Expression:
    """``register = register & bits ^ xor`` on a value in the machine's own order."""
    return expression(
        "bitwise",
        number(1, _FIRST),
        number(2, _FIRST),
        number(3, 4),
        value(4, own_order(bits)),
        value(5, own_order(xor)),
    )


def mask_network(network: IPv4Network) -> Expression:
    return expression(
        "bitwise",
        number(1, _FIRST),
        number(2, _FIRST),
        number(3, 4),
        value(4, network.netmask.packed),
        value(5, bytes(4)),
    )


def equals(data: bytes) -> Expression:
    return expression("cmp", number(1, _FIRST), number(2, 0), value(3, data))


def begins_with(text: str) -> Expression:
    """The name in the register: only as many bytes are compared as are given."""
    return equals(text.encode())


def differs(data: bytes) -> Expression:
    return expression("cmp", number(1, _FIRST), number(2, 1), value(3, data))


def counter() -> Expression:
    zero = struct.pack(">Q", 0)
    return expression("counter", attribute(1, zero), attribute(2, zero))


def drop() -> Expression:
    return expression("immediate", number(1, 0), nest(2, nest(2, number(1, 0))))


def masquerade() -> Expression:
    return expression("masq")


def source_nat(address: IPv4Address) -> tuple[Expression, Expression]:
    """The connection gets this source; only in a chain of the kind "nat"."""
    return (
        expression("immediate", number(1, _FIRST), value(2, address.packed)),
        expression("nat", number(1, 0), number(2, _IPV4), number(3, _FIRST)),
    )


def own_order(value: int) -> bytes:
    """A link's index or a mark as the kernel compares it."""
    return value.to_bytes(4, sys.byteorder)


def add_table(table: str) -> Change:
    """One that is there already is kept as it is."""
    return change(f"add table {table}", _NEWTABLE, NLM_F_CREATE, text(1, table))


def delete_table(table: str) -> Change:
    """With everything in it; one that is not there is fine."""
    return change(
        f"delete table {table}", _DELTABLE, 0, text(1, table), forgiven={errno.ENOENT}
    )


def add_chain(
    table: str, chain: str, *, hook: int, priority: int, kind: str = "filter"
) -> Change:
    """A base chain with the policy "accept". `kind`: filter, nat or route."""
    place = nest(4, number(1, hook), number(2, priority))
    body = text(1, table) + text(3, chain) + place + number(5, 1) + text(7, kind)
    return change(f"add chain {table}/{chain}", _NEWCHAIN, NLM_F_CREATE, body)


def add_bare_chain(table: str, chain: str) -> Change:
    """One that only other rules lead into."""
    body = text(1, table) + text(3, chain)
    return change(f"add chain {table}/{chain}", _NEWCHAIN, NLM_F_CREATE, body)


def add_rule(table: str, chain: str, *expressions: Expression) -> Change:
    """At the chain's end."""
    body = text(1, table) + text(2, chain) + nest(4, *expressions)
    return change(f"add rule to {table}/{chain}", _NEWRULE, NLM_F_CREATE | 0x800, body)


def change(
    what: str, kind: int, flags: int, body: bytes, *, forgiven: Iterable[int] = ()
) -> Change:
    return Change(what=what, kind=kind, flags=flags, body=body, forgiven=frozenset(forgiven))


class Nftables:
    """The nftables of one namespace. `netns` None: the calling thread's own."""

    def __init__(self, netns: int | None = None) -> None:
        self._socket = socket_in(netns, socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Nftables:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def commit(self, changes: Sequence[Change]) -> None:
        """All or nothing. Raises NetlinkError naming the first change that was refused."""
        first = self._sequence + 2
        self._sequence += len(changes) + 2
        parts = [self._encode(_BATCH_BEGIN, NLM_F_REQUEST, first - 1, 0, 10, b"")]
        for place, each in enumerate(changes):
            flags = NLM_F_REQUEST | NLM_F_ACK | each.flags
            kind = _SUBSYSTEM | each.kind
            parts.append(self._encode(kind, flags, first + place, each.family, 0, each.body))
        parts.append(self._encode(_BATCH_END, NLM_F_REQUEST, self._sequence, 0, 10, b""))
        self._socket.send(b"".join(parts))
        self._await_all(first, changes)

    def _await_all(self, first: int, changes: Sequence[Change]) -> None:
        answers: dict[int, int] = {}
        while len(answers) < len(changes):
            for kind, _, sequence, body in split(self._socket.recv(_RECEIVE_BYTES)):
                refusal = -struct.unpack_from("=i", body)[0] if kind == _ERROR else 0
                if sequence == first - 1 and refusal:
                    raise NetlinkError(refusal, "nftables transaction")
                if first <= sequence < first + len(changes):
                    answers[sequence] = refusal
        for place, each in enumerate(changes):
            refusal = answers[first + place]
            if refusal and refusal not in each.forgiven:
                raise NetlinkError(refusal, each.what)

    def tables(self) -> list[str]:
        """Names of the namespace's IPv4 tables."""
        bodies = self._dump(_GETTABLE, b"")
        return [read(body)[1].rstrip(b"\0").decode() for body in bodies]

    def packets(self, table: str, chain: str) -> list[int]:
        """What each rule's counter has counted, rule by rule; 0 for a rule without one."""
        bodies = self._dump(_GETRULE, text(1, table) + text(2, chain))
        return [_count(read(body).get(4, b"")) for body in bodies]

    def ruled_chains(self, table: str) -> list[str]:
        """The chain of each rule of the table."""
        bodies = self._dump(_GETRULE, text(1, table))
        return [read(body)[2].rstrip(b"\0").decode() for body in bodies]

    def elements(self, table: str, name: str) -> list[bytes]:
        """What is in a set or map, to be read by its module."""
        return self._dump(_GETSETELEM, text(1, table) + text(2, name))

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        self._sequence += 1
        flags = NLM_F_REQUEST | NLM_F_DUMP
        self._socket.send(
            self._encode(_SUBSYSTEM | kind, flags, self._sequence, _IPV4, 0, body)
        )
        found: list[bytes] = []
        while True:
            for message, _, sequence, data in split(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue
                if message == _DONE:
                    return found
                if message == _ERROR:
                    refusal = -struct.unpack_from("=i", data)[0]
                    raise NetlinkError(refusal, "nftables dump")
                found.append(data[4:])

    @staticmethod
    def _encode(
        kind: int, flags: int, sequence: int, family: int, resource: int, body: bytes
    ) -> bytes:
        payload = struct.pack(">BBH", family, 0, resource) + body
        length = _HEADER.size + len(payload)
        return _HEADER.pack(length, kind, flags, sequence, 0) + payload


def _count(expressions: bytes) -> int:
    for _, element in walk(expressions):
        parts = read(element)
        if parts.get(1, b"").rstrip(b"\0") == b"counter":
            return int(struct.unpack(">Q", read(parts[2])[2])[0])
    return 0
