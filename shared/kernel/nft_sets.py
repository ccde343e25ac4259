"""Sets and maps of nftables: what rules look up, one lookup however many there are.

A map's value is the chain that packets with its key go to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

from .conversation import NLM_F_CREATE
from .nft_encoding import Expression, expression, nest, number, read, text, value, walk
from .nftables import Change, change, own_order

_NEWSET, _NEWSETELEM, _DELSETELEM = 9, 12, 14
_WHOLE: Final = 1  # the register of a key, of however many parts
_VERDICT_REGISTER: Final = 0
_IS_MAP: Final = 0x8
_VERDICTS: Final = 0xFFFF_FF00
_GOTO: Final = -4
_ELEMENTS_MAX: Final = 512  # of one message: a nest has at most 64 KiB


def not_in_set(name: str) -> Expression:
    return expression("lookup", text(1, name), number(2, _WHOLE), number(5, 1))


def go_by_map(name: str) -> Expression:
    """On to the chain that the key leads to; without one the next rule is asked."""
    return expression("lookup", text(1, name), number(2, _WHOLE), number(3, _VERDICT_REGISTER))


def port_and_address(index: int, address: IPv4Address) -> bytes:
    """The key of a set of (link, address)."""
    return own_order(index) + address.packed


def add_set(table: str, name: str, *, key_bytes: int) -> Change:
    body = _head(table, name, flags=0, key_bytes=key_bytes)
    return change(f"add set {table}/{name}", _NEWSET, NLM_F_CREATE, body)


def add_chain_map(table: str, name: str, *, key_bytes: int) -> Change:
    body = _head(table, name, flags=_IS_MAP, key_bytes=key_bytes) + number(6, _VERDICTS)
    return change(f"add map {table}/{name}", _NEWSET, NLM_F_CREATE, body)


def add_elements(table: str, name: str, keys: Iterable[bytes]) -> list[Change]:
    """Those that are there already are fine."""
    return [
        change(f"add to set {table}/{name}", _NEWSETELEM, NLM_F_CREATE, body)
        for body in _in_parts(table, name, [value(1, key) for key in keys])
    ]


def add_to_map(table: str, name: str, chains: Mapping[bytes, str]) -> list[Change]:
    """Keys with their chains; one that is there must lead to the same chain."""
    elements = [
        value(1, key) + nest(2, nest(2, number(1, _GOTO), text(2, chain)))
        for key, chain in chains.items()
    ]
    return [
        change(f"add to map {table}/{name}", _NEWSETELEM, NLM_F_CREATE, body)
        for body in _in_parts(table, name, elements)
    ]


def delete_elements(table: str, name: str, keys: Iterable[bytes]) -> list[Change]:
    """All must be there, else the whole transaction is refused."""
    elements = [value(1, key) for key in keys]
    return [
        change(f"delete from {table}/{name}", _DELSETELEM, 0, body)
        for body in _in_parts(table, name, elements)
    ]


def read_map(message: bytes) -> tuple[tuple[bytes, str], ...]:
    """Keys and chains of one message of a map's dump."""
    return tuple(_read_elements(read(message).get(3, b"")))


def _read_elements(listed: bytes) -> Iterator[tuple[bytes, str]]:
    for _, element in walk(listed):
        parts = read(element)
        verdict = read(read(parts.get(2, b"")).get(2, b""))
        yield read(parts[1])[1], verdict.get(2, b"").rstrip(b"\0").decode()


def _head(table: str, name: str, *, flags: int, key_bytes: int) -> bytes:
    return (
        text(1, table)
        + text(2, name)
        + number(3, flags)
        + number(4, 0)
        + number(5, key_bytes)
        + number(10, 1)
    )


def _in_parts(table: str, name: str, elements: list[bytes]) -> Iterator[bytes]:
    for start in range(0, len(elements), _ELEMENTS_MAX):
        listed = (nest(1, each) for each in elements[start : start + _ELEMENTS_MAX])
        yield text(1, table) + text(2, name) + nest(3, *listed)
