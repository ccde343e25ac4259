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

_NETFILTER: Final = 12
_SUBSYSTEM: Final = 10 << 8
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _NEWRULE, _GETRULE = 3, 6, 7
_NEWSET, _NEWSETELEM, _DELSETELEM = 9, 12, 14
_ERROR, _DONE = 2, 3
_IPV4: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
_RECEIVE_BYTES: Final = 1 << 18
_TIMEOUT_S: Final = 10.0

HOOK_PREROUTING, HOOK_INPUT, HOOK_FORWARD, HOOK_OUTPUT, HOOK_POSTROUTING = range(5)
PRIORITY_MANGLE: Final = -150
PRIORITY_FILTER: Final = 0
PRIORITY_SOURCE_NAT: Final = 100

Expression = bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One message of a transaction."""

    what: str
    kind: int
    flags: int
    body: bytes
    family: int = _IPV4
    forgiven: frozenset[int] = frozenset()


def _attribute(kind: int, value: bytes, *, nested: bool = False) -> bytes:
    length = 4 + len(value)
    head = struct.pack("=HH", length, kind | (0x8000 if nested else 0))
    return head + value + b"\0" * (-length % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value & 0xFFFF_FFFF))


def _nest(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind, b"".join(parts), nested=True)


def _value(kind: int, data: bytes) -> bytes:
    return _nest(kind, _attribute(1, data))


def _expression(name: str, *parts: bytes) -> Expression:
    return _nest(1, _text(1, name), _nest(2, *parts))


# Registers: a concatenation of 4-byte values lies in 8, 9, …; register 1 is the same place.
_FIRST: Final = 8
_WHOLE: Final = 1


def load_iif(register: int = _FIRST) -> Expression:
    """The index of the link a packet came in by."""
    return _expression("meta", _number(1, register), _number(2, 4))


def load_oif(register: int = _FIRST) -> Expression:
    """The index of the link a packet is about to leave by."""
    return _expression("meta", _number(1, register), _number(2, 5))


def load_iif_name() -> Expression:
    """The name of the link a packet came in by."""
    return _expression("meta", _number(1, _FIRST), _number(2, 6))


def load_oif_name() -> Expression:
    """The name of the link a packet is about to leave by."""
    return _expression("meta", _number(1, _FIRST), _number(2, 7))


def load_mark(register: int = _FIRST) -> Expression:
    return _expression("meta", _number(1, register), _number(2, 3))


def store_mark(register: int = _FIRST) -> Expression:
    return _expression("meta", _number(2, 3), _number(3, register))


def load_connection_mark(register: int = _FIRST) -> Expression:
    return _expression("ct", _number(1, register), _number(2, 3))


def store_connection_mark(register: int = _FIRST) -> Expression:
    return _expression("ct", _number(2, 3), _number(4, register))


def load_connection_status() -> Expression:
    return _expression("ct", _number(1, _FIRST), _number(2, 2))


def load_source(register: int = _FIRST) -> Expression:
    """The IPv4 source address."""
    return _payload(register, base=1, offset=12, length=4)


def load_destination(register: int = _FIRST) -> Expression:
    return _payload(register, base=1, offset=16, length=4)


def load_destination_type(register: int = _FIRST) -> Expression:
    """What the routing tables hold the destination for: 2 is "this machine"."""
    return _expression("fib", _number(1, register), _number(2, 3), _number(3, 2))


def _payload(register: int, *, base: int, offset: int, length: int) -> Expression:
    return _expression(
        "payload",
        _number(1, register),
        _number(2, base),
        _number(3, offset),
        _number(4, length),
    )


def mask(bits: int, *, xor: int = 0) -> Expression:
    """``register = register & bits ^ xor`` on a value in the machine's own order."""
    return _expression(
        "bitwise",
        _number(1, _FIRST),
        _number(2, _FIRST),
        _number(3, 4),
        _value(4, own_order(bits)),
        _value(5, own_order(xor)),
    )


def mask_network(network: IPv4Network) -> Expression:
    return _expression(
        "bitwise",
        _number(1, _FIRST),
        _number(2, _FIRST),
        _number(3, 4),
        _value(4, network.netmask.packed),
        _value(5, bytes(4)),
    )


def equals(data: bytes) -> Expression:
    return _expression("cmp", _number(1, _FIRST), _number(2, 0), _value(3, data))


def begins_with(text: str) -> Expression:
    """The name in the register: only as many bytes are compared as are given."""
    return equals(text.encode())


def differs(data: bytes) -> Expression:
    return _expression("cmp", _number(1, _FIRST), _number(2, 1), _value(3, data))


def not_in_set(name: str) -> Expression:
    return _expression("lookup", _text(1, name), _number(2, _WHOLE), _number(5, 1))


def in_set(name: str) -> Expression:
    return _expression("lookup", _text(1, name), _number(2, _WHOLE))


def set_value(value: int) -> Expression:
    """A number in the machine's own order, into the register."""
    return _expression("immediate", _number(1, _FIRST), _value(2, own_order(value)))


def counter() -> Expression:
    zero = struct.pack(">Q", 0)
    return _expression("counter", _attribute(1, zero), _attribute(2, zero))


def drop() -> Expression:
    return _expression("immediate", _number(1, 0), _nest(2, _nest(2, _number(1, 0))))


def masquerade() -> Expression:
    return _expression("masq")


def source_nat(address: IPv4Address) -> tuple[Expression, Expression]:
    """The connection gets this source; only in a chain of the kind "nat"."""
    return (
        _expression("immediate", _number(1, _FIRST), _value(2, address.packed)),
        _expression("nat", _number(1, 0), _number(2, _IPV4), _number(3, _FIRST)),
    )


def own_order(value: int) -> bytes:
    """A link's index or a mark as the kernel compares it."""
    return value.to_bytes(4, sys.byteorder)


def port_and_address(index: int, address: IPv4Address) -> bytes:
    """The key of a set of (link, address)."""
    return own_order(index) + address.packed


def add_table(table: str) -> Change:
    """One that is there already is kept as it is."""
    return _change(f"add table {table}", _NEWTABLE, NLM_F_CREATE, _text(1, table))


def delete_table(table: str) -> Change:
    """With everything in it; one that is not there is fine."""
    return _change(
        f"delete table {table}", _DELTABLE, 0, _text(1, table), forgiven={errno.ENOENT}
    )


def add_chain(
    table: str, chain: str, *, hook: int, priority: int, kind: str = "filter"
) -> Change:
    """A base chain with the policy "accept". `kind`: filter, nat or route."""
    place = _nest(4, _number(1, hook), _number(2, priority))
    body = _text(1, table) + _text(3, chain) + place + _number(5, 1) + _text(7, kind)
    return _change(f"add chain {table}/{chain}", _NEWCHAIN, NLM_F_CREATE, body)


def add_rule(table: str, chain: str, *expressions: Expression) -> Change:
    """At the chain's end."""
    body = _text(1, table) + _text(2, chain) + _nest(4, *expressions)
    return _change(f"add rule to {table}/{chain}", _NEWRULE, NLM_F_CREATE | 0x800, body)


def add_set(table: str, name: str, *, key_bytes: int) -> Change:
    body = (
        _text(1, table)
        + _text(2, name)
        + _number(3, 0)
        + _number(4, 0)
        + _number(5, key_bytes)
        + _number(10, 1)
    )
    return _change(f"add set {table}/{name}", _NEWSET, NLM_F_CREATE, body)


def add_elements(table: str, name: str, keys: Iterable[bytes]) -> Change:
    """Those that are there already are fine."""
    body = _elements(table, name, keys)
    return _change(f"add to set {table}/{name}", _NEWSETELEM, NLM_F_CREATE, body)


def delete_elements(table: str, name: str, keys: Iterable[bytes]) -> Change:
    """All must be there, else the whole transaction is refused."""
    body = _elements(table, name, keys)
    return _change(f"delete from set {table}/{name}", _DELSETELEM, 0, body)


def _elements(table: str, name: str, keys: Iterable[bytes]) -> bytes:
    listed = (_nest(1, _value(1, key)) for key in keys)
    return _text(1, table) + _text(2, name) + _nest(3, *listed)


def _change(
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
        for number, change in enumerate(changes):
            flags = NLM_F_REQUEST | NLM_F_ACK | change.flags
            kind = _SUBSYSTEM | change.kind
            parts.append(
                self._encode(kind, flags, first + number, change.family, 0, change.body)
            )
        parts.append(self._encode(_BATCH_END, NLM_F_REQUEST, self._sequence, 0, 10, b""))
        self._socket.send(b"".join(parts))
        self._await_all(first, changes)

    def _await_all(self, first: int, changes: Sequence[Change]) -> None:
        answers: dict[int, int] = {}
        while len(answers) < len(changes):
            for kind, _, sequence, body in split(self._socket.recv(_RECEIVE_BYTES)):
                number = -struct.unpack_from("=i", body)[0] if kind == _ERROR else 0
                if sequence == first - 1 and number:
                    raise NetlinkError(number, "nftables transaction")
                if first <= sequence < first + len(changes):
                    answers[sequence] = number
        for number, change in enumerate(changes):
            refusal = answers[first + number]
            if refusal and refusal not in change.forgiven:
                raise NetlinkError(refusal, change.what)

    def tables(self) -> list[str]:
        """Names of the namespace's IPv4 tables."""
        bodies = self._dump(_GETTABLE, b"")
        return [_read(body)[1].rstrip(b"\0").decode() for body in bodies]

    def packets(self, table: str, chain: str) -> list[int]:
        """What each rule's counter has counted, rule by rule; 0 for a rule without one."""
        bodies = self._dump(_GETRULE, _text(1, table) + _text(2, chain))
        return [_count(_read(body).get(4, b"")) for body in bodies]

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
                    number = -struct.unpack_from("=i", data)[0]
                    raise NetlinkError(number, "nftables dump")
                found.append(data[4:])

    @staticmethod
    def _encode(
        kind: int, flags: int, sequence: int, family: int, resource: int, body: bytes
    ) -> bytes:
        payload = struct.pack(">BBH", family, 0, resource) + body
        length = _HEADER.size + len(payload)
        return _HEADER.pack(length, kind, flags, sequence, 0) + payload


def _read(data: bytes) -> dict[int, bytes]:
    """The attributes of a level by their number; of several with one number the last."""
    return dict(_walk(data))


def _walk(data: bytes) -> Iterable[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _count(expressions: bytes) -> int:
    for _, element in _walk(expressions):
        parts = _read(element)
        if parts.get(1, b"").rstrip(b"\0") == b"counter":
            return int(struct.unpack(">Q", _read(parts[2])[2])[0])
    return 0
