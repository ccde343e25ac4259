"""IPv4 routes and rules, each with the mark (`protocol`) of whoever made it."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from .conversation import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    Conversation,
    Request,
)
from .encoding import attribute, ipv4, route_header, rule_header, u32

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
    wanted = rtmsg()
    wanted["family"] = socket.AF_INET
    found = []
    for data in conversation.dump(RTM_GETROUTE, wanted):
        message = rtmsg(data)
        message.decode()
        if message["type"] not in (_UNICAST, _UNREACHABLE) or message["flags"] & _CACHED:
            continue
        destination = message.get_attr("RTA_DST") or "0.0.0.0"
        found.append(
            Route(
                to=IPv4Network(f"{destination}/{message['dst_len']}"),
                link=message.get_attr("RTA_OIF"),
                gateway=_address(message.get_attr("RTA_GATEWAY")),
                source=_address(message.get_attr("RTA_PREFSRC")),
                table=int(message.get_attr("RTA_TABLE") or message["table"]),
                is_onlink=bool(message["flags"] & _ONLINK),
                protocol=int(message["proto"]),
            )
        )
    return found


def rules(conversation: Conversation) -> list[Rule]:
    """Every IPv4 rule that leads to a table."""
    wanted = fibmsg()
    wanted["family"] = socket.AF_INET
    found = []
    for data in conversation.dump(RTM_GETRULE, wanted):
        message = fibmsg(data)
        message.decode()
        if message["action"] != _TO_TABLE:
            continue
        found.append(
            Rule(
                priority=int(message.get_attr("FRA_PRIORITY") or 0),
                table=int(message.get_attr("FRA_TABLE") or message["table"]),
                source=_network(message.get_attr("FRA_SRC"), message["src_len"]),
                to=_network(message.get_attr("FRA_DST"), message["dst_len"]),
                mark=message.get_attr("FRA_FWMARK"),
                mask=message.get_attr("FRA_FWMASK"),
                protocol=_rule_protocol(message.get_attr("FRA_PROTOCOL")),
            )
        )
    return found


def _route(route: Route) -> bytes:
    is_reached = route.link is not None
    message = route_header(
        socket.AF_INET,
        to_length=route.to.prefixlen,
        table=route.table,
        protocol=route.protocol,
        scope=SCOPE_LINK if is_reached and not route.gateway else SCOPE_UNIVERSE,
        kind=_UNICAST if is_reached else _UNREACHABLE,
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


def _address(text: str | None) -> IPv4Address | None:
    return IPv4Address(text) if text is not None else None


def _network(text: str | None, length: int) -> IPv4Network | None:
    return IPv4Network(f"{text}/{length}") if text is not None else None


def _rule_protocol(value: object) -> int:
    # pyroute2 leaves the one byte of FRA_PROTOCOL as it comes, by release.
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return int(value.split(":")[0], 16)
    return value[0] if isinstance(value, bytes) and value else 0
