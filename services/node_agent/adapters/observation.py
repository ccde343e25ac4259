"""What the kernel holds of the wire: links, and of routes and rules what carries our mark.

Read every few seconds on a node that may have thousands of pods, so a message that was in the
last dump is not decoded again, and settings come with their links instead of from files.
"""

from __future__ import annotations

from services.node_agent.domain.ports import Link, Observed
from services.node_agent.domain.wiring import (
    PROTOCOL,
    ForeignRoute,
    LinkAddress,
    Route,
    Rule,
    interface_key,
    ipv6_key,
)
from shared.kernel import addresses, links, routes
from shared.kernel.conversation import Conversation
from shared.kernel.dumps import Rereader

_KERNELS_TABLES = range(253, 256)  # default, main, local: everybody's


class Observer:
    """Reads one namespace."""

    def __init__(self, host: Conversation) -> None:
        self._host = host
        self._names: dict[int, str] = {}
        self._links = Rereader(_link)
        self._routes = Rereader(self._route)
        self._rules = Rereader(_rule)
        self._addresses = Rereader(self._address)

    def links(self) -> tuple[Link, ...]:
        return tuple(self._links.read(links.dump_links(self._host)))

    def observe(self) -> Observed:
        found = self.links()
        names = {link.index: link.name for link in found}
        if any(names.get(index, name) != name for index, name in self._names.items()):
            self._routes.forget()  # their links have other names now
            self._addresses.forget()
        self._names = names
        seen = self._routes.read(routes.dump_routes(self._host))
        rules = self._rules.read(routes.dump_rules(self._host))
        here = self._addresses.read(addresses.dump_addresses(self._host))
        return Observed(
            links=found,
            routes=frozenset(route for route in seen if isinstance(route, Route)),
            rules=frozenset(rule for rule in rules if rule is not None),
            addresses=frozenset(each for each in here if each is not None),
            foreign=frozenset(route for route in seen if isinstance(route, ForeignRoute)),
            settings={
                key: value
                for link in found
                for key, value in (
                    (interface_key(link.name, "rp_filter"), str(link.rp_filter)),
                    (ipv6_key(link.name), "1" if link.is_ipv6_off else "0"),
                )
            },
        )

    def _route(self, message: bytes) -> Route | ForeignRoute | None:
        route = routes.read_route(message)
        if route is None:
            return None
        if route.protocol == PROTOCOL and not route.is_dropping:
            return Route(
                table=route.table,
                destination=route.to,
                link=self._names.get(route.link or 0, ""),
                via=route.gateway,
                is_onlink=route.is_onlink,
            )
        if route.table in _KERNELS_TABLES:
            return None
        return ForeignRoute(
            table=route.table,
            destination=route.to,
            is_dropping=route.is_dropping or route.link is None,
        )

    def _address(self, message: bytes) -> LinkAddress | None:
        found = addresses.read_link_address(message)
        if found.address.network.prefixlen != found.address.max_prefixlen:
            return None
        return LinkAddress(link=self._names.get(found.index, ""), address=found.address.ip)


def _link(message: bytes) -> Link:
    link = links.read_link(message)
    return Link(
        name=link.name,
        index=link.index,
        mac=link.mac,
        mtu=link.mtu,
        is_up=link.is_up,
        rp_filter=link.rp_filter,
        is_ipv6_off=link.is_ipv6_off,
        label=link.alias,
    )


def _rule(message: bytes) -> Rule | None:
    rule = routes.read_rule(message)
    if rule is None or rule.protocol != PROTOCOL:
        return None
    return Rule(
        priority=rule.priority,
        table=rule.table,
        source=rule.source,
        destination=rule.to,
        mark=rule.mark or None,
        mask=rule.mask if rule.mark else None,
    )
