"""IPv4 routes and rules, each with the mark (`protocol`) of whoever made it."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from .conversation import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    Conversation,
    Request,
)
from .encoding import attribute, attributes, ipv4, number, route_header, rule_header, u32

RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWRULE: Final = 32
RTM_DELRULE: Final = 33
RTM_GETRULE: Final = 34

MAIN_TABLE: Final = 254
DEFAULT: Final = IPv4Network("0.0.0.0/0")

SCOPE_UNIVERSE: Final = 0
SCOPE_LINK: Final = 253
_SCOPE_NOWHERE: Final = 255

_HEADER: Final = struct.Struct("=BBBBBBBBI")  # rtmsg and fib_rule_hdr
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_PREFSRC: Final = 7
_RTA_TABLE: Final = 15
_FRA_DST: Final = 1
_FRA_SRC: Final = 2
_FRA_PRIORITY: Final = 6
_FRA_FWMARK: Final = 10
_FRA_TABLE: Final = 15
_FRA_FWMASK: Final = 16
_FRA_PROTOCOL: Final = 21

_UNICAST: Final = 1
_BLACKHOLE: Final = 6
_UNREACHABLE: Final = 7
_PROHIBIT: Final = 8
_DROPPING: Final = frozenset({_BLACKHOLE, _PROHIBIT})
_KINDS: Final = frozenset({_UNICAST, _UNREACHABLE}) | _DROPPING
_ONLINK: Final = 4
_TO_TABLE: Final = 1
_CACHED: Final = 0x200

_EXISTS: Final = frozenset({errno.EEXIST})
_MISSING: Final = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Route:
    """A route. `link` None with no gateway: unreachable (answered by ICMP)."""

    to: IPv4Network
    link: int | None = None  # index
    gateway: IPv4Address | None = None
    source: IPv4Address | None = None  # the preferred one
    table: int = MAIN_TABLE
    is_onlink: bool = False  # the gateway is on the link, whatever the addresses say
    is_dropping: bool = False  # a blackhole, or its like
    protocol: int = 4  # who made it; 4 is "static"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Rule:
    """A policy rule: which table packets that match are looked up in."""

    priority: int
    table: int
    source: IPv4Network | None = None
    to: IPv4Network | None = None
    mark: int | None = None
    mask: int | None = None
    protocol: int = 4


def add_route(route: Route) -> Request:
    """Made, or put in the place of the one for the same destination and table."""
    return Request(
        what=f"add route {route.to} in table {route.table}",
        kind=RTM_NEWROUTE,
        flags=NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
        message=_route(route),
    )


def delete_route(route: Route) -> Request:
    """One that is not there is fine."""
    return Request(
        what=f"delete route {route.to} of table {route.table}",
        kind=RTM_DELROUTE,
        flags=NLM_F_REQUEST | NLM_F_ACK,
        message=_route(route),
        forgiven=_MISSING,
    )


def add_rule(rule: Rule) -> Request:
    """One that is there already is fine."""
    return Request(
        what=f"add rule {rule.priority}",
        kind=RTM_NEWRULE,
        flags=NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
        message=_rule(rule),
        forgiven=_EXISTS,
    )


def delete_rule(rule: Rule) -> Request:
    """One that is not there is fine."""
    return Request(
        what=f"delete rule {rule.priority}",
        kind=RTM_DELRULE,
        flags=NLM_F_REQUEST | NLM_F_ACK,
        message=_rule(rule),
        forgiven=_MISSING,
    )


def routes(conversation: Conversation) -> list[Route]:
    """Every IPv4 unicast and unreachable route, of every table."""
    found = map(read_route, dump_routes(conversation))
    return [route for route in found if route is not None and not route.is_dropping]


def dump_routes(conversation: Conversation) -> list[bytes]:
    wanted = route_header(
        socket.AF_INET, to_length=0, table=0, protocol=0, scope=0, kind=0, flags=0
    )
    return conversation.dump(RTM_GETROUTE, wanted)


def read_route(message: bytes) -> Route | None:
    """None: of a kind that nobody here makes, nor others in our tables."""
    _, to_length, _, _, table, protocol, _, kind, flags = _HEADER.unpack_from(message)
    if kind not in _KINDS or flags & _CACHED:
        return None
    has = attributes(message, _HEADER.size)
    return Route(
        to=IPv4Network((has.get(_RTA_DST, bytes(4)), to_length)),
        link=number(has.get(_RTA_OIF)),
        gateway=_address(has.get(_RTA_GATEWAY)),
        source=_address(has.get(_RTA_PREFSRC)),
        table=number(has.get(_RTA_TABLE)) or table,
        is_onlink=bool(flags & _ONLINK),
        is_dropping=kind in _DROPPING,
        protocol=protocol,
    )


def rules(conversation: Conversation) -> list[Rule]:
    """Every IPv4 rule that leads to a table."""
    found = map(read_rule, dump_rules(conversation))
    return [rule for rule in found if rule is not None]


def dump_rules(conversation: Conversation) -> list[bytes]:
    wanted = rule_header(socket.AF_INET, to_length=0, source_length=0, table=0, action=0)
    return conversation.dump(RTM_GETRULE, wanted)


def read_rule(message: bytes) -> Rule | None:
    """None: it does not lead to a table."""
    _, to_length, source_length, _, table, _, _, action, _ = _HEADER.unpack_from(message)
    if action != _TO_TABLE:
        return None
    has = attributes(message, _HEADER.size)
    return Rule(
        priority=number(has.get(_FRA_PRIORITY)) or 0,
        table=number(has.get(_FRA_TABLE)) or table,
        source=_network(has.get(_FRA_SRC), source_length),
        to=_network(has.get(_FRA_DST), to_length),
        mark=number(has.get(_FRA_FWMARK)),
        mask=number(has.get(_FRA_FWMASK)),
        protocol=has.get(_FRA_PROTOCOL, b"\0")[0],
    )


def _route(route: Route) -> bytes:
    is_reached = route.link is not None
    message = route_header(
        socket.AF_INET,
        to_length=route.to.prefixlen,
        table=route.table,
        protocol=route.protocol,
        scope=SCOPE_LINK if is_reached and not route.gateway else SCOPE_UNIVERSE,
        kind=_BLACKHOLE if route.is_dropping else _UNICAST if is_reached else _UNREACHABLE,
        flags=_ONLINK if route.is_onlink else 0,
    ) + u32(_RTA_TABLE, route.table)
    if route.to.prefixlen:
        message += ipv4(_RTA_DST, route.to.network_address)
    if route.link is not None:
        message += u32(_RTA_OIF, route.link)
    if route.gateway is not None:
        message += ipv4(_RTA_GATEWAY, route.gateway)
    if route.source is not None:
        message += ipv4(_RTA_PREFSRC, route.source)
    return message


def _rule(rule: Rule) -> bytes:
    message = rule_header(
        socket.AF_INET,
        to_length=rule.to.prefixlen if rule.to is not None else 0,
        source_length=rule.source.prefixlen if rule.source is not None else 0,
        table=rule.table,
        action=_TO_TABLE,
    )
    message += u32(_FRA_TABLE, rule.table) + u32(_FRA_PRIORITY, rule.priority)
    message += attribute(_FRA_PROTOCOL, bytes((rule.protocol,)))
    if rule.source is not None:
        message += ipv4(_FRA_SRC, rule.source.network_address)
    if rule.to is not None:
        message += ipv4(_FRA_DST, rule.to.network_address)
    if rule.mark is not None:
        message += u32(_FRA_FWMARK, rule.mark)
    if rule.mask is not None:
        message += u32(_FRA_FWMASK, rule.mask)
    return message


def _address(packed: bytes | None) -> IPv4Address | None:
    return IPv4Address(packed) if packed is not None else None


def _network(packed: bytes | None, length: int) -> IPv4Network | None:
    return IPv4Network((packed, length)) if packed is not None else None
