"""The wire that should be: links, addresses, neighbours, routes, rules, sysctls (pure).

A pod has a /32 and one next hop, 169.254.1.1, which is a permanent neighbour at the MAC of its
host veth. The host reaches it by a /32 route in the pods' table, which is asked before all
others and by one rule, however many pods there are; what a pod sends to the world leaves
through the table of the ENI that carries its address, to which a mark of its source leads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from shared.annotations import NetworkMode

from .attachments import HOST_PREFIX, Attachment
from .enis import Eni
from .labels import label_of
from .requests import POD_GATEWAY

PROTOCOL: Final = 140  # our mark on routes and rules; only what carries it is ever removed
NFT_TABLE: Final = "berth"
SOURCES_NFT_TABLE: Final = "berth-sources"
MAIN_TABLE: Final = 254
TABLE_STEP: Final = 1 << 20  # no link's index is that high by counting

TO_PODS_PRIORITY: Final = 512
MARKED_PRIORITY: Final = 1024
FROM_POD_PRIORITY: Final = 1536

# One bit, far from kube-proxy's (0x4000, 0x8000) and Cilium's and Calico's (upper half).
INGRESS_MARK: Final = 0x80
EXCLUSIVE_MARK: Final = 0x40  # of connections only: a packet never carries it
SOURCE_MASK: Final = 0x3F  # which ENI has the address that a packet comes from; 0: none of ours

# Locally administered; with the name it tells our host links from anybody else's.
MAC_PREFIX: Final = "ae:be:"

EVERYWHERE: Final = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route with our mark."""

    table: int
    destination: IPv4Network
    link: str
    via: IPv4Address | None = None  # None: reached on the link itself
    is_onlink: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRoute:
    """A route of somebody else's, in a table that is not the kernel's own."""

    table: int
    destination: IPv4Network
    is_dropping: bool  # a blackhole, or its like


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A policy rule with our mark."""

    priority: int
    table: int
    source: IPv4Network | None = None
    destination: IPv4Network | None = None
    mark: int | None = None
    mask: int | None = None  # of the mark's bits


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAddress:
    """An address on a link of the host."""

    link: str
    address: IPv4Address  # always a /32: subnets are reached by our own routes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A setting below /proc/sys, right when it holds one of `allowed`; the first is written."""

    key: tuple[str, ...]
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The pod's side: nothing in it but one address and one next hop."""

    ifname: str
    mac: str
    mtu: int
    address: IPv4Address
    gateway: IPv4Address
    gateway_mac: str
    has_default: bool = True  # False: beside an ENI, which has the default route


@dataclass(frozen=True, slots=True, kw_only=True)
class PodWire:
    """All of one attachment in shared mode, both sides of the veth; in exclusive mode what
    there is beside the ENI."""

    host_ifname: str
    host_mac: str
    label: str  # what the host link says of its attachment
    pod: Pod
    routes: tuple[Route, ...]
    mark: int  # of what it sends; 0: nothing leads into an ENI's table
    sysctls: tuple[Sysctl, ...]
    node_rules: tuple[Rule, ...]  # that it needs, and others with it


@dataclass(frozen=True, slots=True, kw_only=True)
class EniLink:
    """An ENI whose link was found."""

    eni: Eni
    link: str
    index: int
    mtu: int
    mark: int = 0  # of what pods send from its addresses; 0: none could be given


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingress:
    """What nftables does: what enters by the primary ENI is answered by it (a mark on the
    connection, restored on the answer), and with masquerade on, what leaves by it gets the
    node's source. So does what a pod with an ENI of its own sends by the node, or is sent by
    it under a translated destination: its answer must come back this way."""

    primary_index: int
    primary_address: IPv4Address
    mark: int
    exclusive_mark: int
    exclusive_prefix: str  # of the names of links to pods that have an ENI of their own
    masquerade_except: tuple[IPv4Network, ...] | None  # None: masquerade is off


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWire:
    """What the node itself needs for its ENIs."""

    links_up: tuple[str, ...]
    addresses: tuple[LinkAddress, ...]
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]
    sysctls: tuple[Sysctl, ...]
    ingress: Ingress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WiringRules:
    """What the node's owner chose."""

    table_base: int
    non_masquerade_cidrs: tuple[IPv4Network, ...] | None  # None: masquerade is off
    service_cidrs: tuple[IPv4Network, ...] = ()

    taken: frozenset[int] = frozenset()  # tables in which others have routes

    @property
    def pods_table(self) -> int:
        """Links are numbered from one, so no ENI's table is this one."""
        return self._free(self.table_base)

    def table_of(self, eni: EniLink) -> int:
        return self._free(self.table_base + eni.index)

    def displaced(self, enis: Iterable[EniLink]) -> int:
        """How many of our tables are not where they belong, because others are there."""
        preferred = {self.table_base, *(self.table_base + eni.index for eni in enis)}
        return len(preferred & self.taken)

    def _free(self, number: int) -> int:
        """This table, or the next in a row that no other table's row meets."""
        while number in self.taken:
            number += TABLE_STEP
        return number


def pod_wire(attachment: Attachment, eni: EniLink | None, rules: WiringRules) -> PodWire:
    """The wire of one attachment; without its ENI, enough of it to take it away."""
    here = IPv4Network(attachment.address)
    own = attachment.own_eni
    # What comes from a pod with an ENI of its own has been sent to the node for main.
    leaves_by = eni if own is None and eni is not None and eni.mark else None
    return PodWire(
        host_ifname=attachment.host_ifname,
        host_mac=attachment.host_mac,
        label=label_of(attachment),
        pod=Pod(
            ifname=attachment.key.ifname if own is None else own.veth_ifname,
            mac=attachment.mac if own is None else own.veth_mac,
            mtu=attachment.mtu,
            # Beside an ENI too: on a link without an address even a loose filter drops what
            # another link would answer.
            address=attachment.address,
            has_default=own is None,
            gateway=POD_GATEWAY,
            gateway_mac=attachment.host_mac,
        ),
        routes=(
            Route(
                table=rules.pods_table,
                destination=here,
                link=attachment.host_ifname,
            ),
        ),
        mark=0 if leaves_by is None else leaves_by.mark,
        sysctls=(
            # Before the link is up: the node neither hears nor answers a pod's IPv6 (router
            # advertisements among it), and two thousand links less are walked with each ADD.
            Sysctl(key=ipv6_key(attachment.host_ifname), allowed=("1",)),
            # Strict: what a pod sends from an address whose way back is another link is
            # dropped.
            _interface(attachment.host_ifname, "rp_filter", "1"),
        ),
        node_rules=(
            to_pods_rule(rules),
            *(() if leaves_by is None else (from_eni_rule(leaves_by, rules),)),
        ),
    )


def eni_routes(eni: EniLink, rules: WiringRules) -> tuple[Route, ...]:
    """The ENI's table: the default, or with masquerade only what keeps its own source."""
    destinations = rules.non_masquerade_cidrs
    return tuple(
        Route(
            table=rules.table_of(eni),
            destination=destination,
            link=eni.link,
            via=eni.eni.gateway,
            is_onlink=True,
        )
        for destination in (destinations if destinations is not None else (EVERYWHERE,))
    )


def node_wire(enis: tuple[EniLink, ...], rules: WiringRules) -> NodeWire:
    """The wire of the node: its shared ENIs, and what enters by the primary one. An ENI that
    is to be a pod's own is left as it is until then: down, without an address."""
    secondary = tuple(eni for eni in enis if eni.eni.is_shared and eni.mark)
    primary = next((eni for eni in enis if eni.eni.is_primary), None)
    return NodeWire(
        links_up=tuple(eni.link for eni in secondary),
        addresses=tuple(
            LinkAddress(link=eni.link, address=eni.eni.primary_address) for eni in secondary
        ),
        routes=tuple(route for eni in secondary for route in eni_routes(eni, rules)),
        rules=(
            to_pods_rule(rules),
            *(
                (_marked_rule(MARKED_PRIORITY, INGRESS_MARK, INGRESS_MARK, MAIN_TABLE),)
                if primary
                else ()
            ),
            *(from_eni_rule(eni, rules) for eni in secondary),
        ),
        sysctls=(
            Sysctl(key=("net", "ipv4", "ip_forward"), allowed=("1",)),
            # The kernel takes the stricter of "all" and the link by number: 2 here would
            # loosen the host veths, which must be strict.
            _interface("all", "rp_filter", "0", "1"),
            # Loose: packets come in by one ENI and their answers may leave by another. Not 0,
            # which a 1 in "all" would make strict.
            *(
                _interface(eni.link, "rp_filter", "2")
                for eni in enis
                if not eni.eni.is_exclusive
            ),
        ),
        ingress=None
        if primary is None
        else Ingress(
            primary_index=primary.index,
            primary_address=primary.eni.primary_address,
            mark=INGRESS_MARK,
            exclusive_mark=EXCLUSIVE_MARK,
            exclusive_prefix=HOST_PREFIX[NetworkMode.EXCLUSIVE],
            masquerade_except=rules.non_masquerade_cidrs,
        ),
    )


def to_pods_rule(rules: WiringRules) -> Rule:
    return Rule(priority=TO_PODS_PRIORITY, table=rules.pods_table)


def from_eni_rule(eni: EniLink, rules: WiringRules) -> Rule:
    """What is sent from the ENI's addresses leaves by its table."""
    return _marked_rule(FROM_POD_PRIORITY, eni.mark, SOURCE_MASK, rules.table_of(eni))


def _marked_rule(priority: int, mark: int, mask: int, table: int) -> Rule:
    return Rule(priority=priority, mark=mark, mask=mask, table=table)


def interface_key(link: str, name: str) -> tuple[str, ...]:
    return ("net", "ipv4", "conf", link, name)


def ipv6_key(link: str) -> tuple[str, ...]:
    return ("net", "ipv6", "conf", link, "disable_ipv6")


def _interface(link: str, name: str, *allowed: str) -> Sysctl:
    return Sysctl(key=interface_key(link, name), allowed=allowed)
