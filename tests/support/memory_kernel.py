"""The Kernel port in memory: for tests of everything that is not the kernel itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from services.node_agent.domain.attachments import is_pod_link
from services.node_agent.domain.exclusive import SandboxEni
from services.node_agent.domain.ports import Link, Observed, PodEnd
from services.node_agent.domain.wiring import Ingress, LinkAddress, PodWire, Route, Rule, Sysctl
from shared.errors import BerthError


class MemoryKernel:
    """Links, routes and rules as sets; `failure` is raised by the next wire_pod."""

    def __init__(self, *links: Link) -> None:
        self._links = {link.name: link for link in links}
        self.routes: set[Route] = set()
        self.rules: set[Rule] = set()
        self.addresses: set[LinkAddress] = set()
        self.source_marks: dict[IPv4Address, int] = {}
        self.ingress: Ingress | None = None
        self.failure: BerthError | None = None
        self.forgotten: list[IPv4Address] = []  # whose connections were dropped
        self.conntrack_failure: BerthError | None = None

    def plug_in(self, link: Link) -> None:
        self._links[link.name] = link

    def reboot(self) -> None:
        """ENIs are plugged in again; everything else has gone."""
        enis = {name: link for name, link in self._links.items() if not is_pod_link(name)}
        self._links = enis
        self.routes.clear()
        self.rules.clear()
        self.addresses.clear()
        self.source_marks.clear()
        self.ingress = None

    def links(self) -> tuple[Link, ...]:
        return tuple(self._links.values())

    def wire_pod(self, wire: PodWire, netns_fd: int) -> None:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self._links[wire.host_ifname] = Link(
            name=wire.host_ifname,
            index=1000 + len(self._links),
            mac=wire.host_mac,
            mtu=wire.pod.mtu,
            is_up=True,
            label=wire.label,
        )
        self.routes |= set(wire.routes)
        self.give_marks({wire.pod.address: wire.mark} if wire.mark else {})

    def rewire_pod(self, wire: PodWire, netns_path: str) -> None:
        self.wire_pod(wire, 0)

    def unwire_pod(self, wire: PodWire) -> None:
        self.routes -= set(wire.routes)

    def pod_end(self, host: Link, netns_path: str) -> PodEnd | None:
        return None

    def remove_links(self, links: Sequence[tuple[str, str]]) -> None:
        for name, mac in links:
            link = self._links.get(name)
            if link is not None and link.mac == mac:
                del self._links[name]

    def check_pod(self, wire: PodWire, netns_fd: int) -> tuple[str, ...]:
        return tuple(
            f"{thing} is missing"
            for thing in (*wire.routes, *wire.node_rules)
            if thing not in self.routes | self.rules
        )

    def observe(self) -> Observed:
        return Observed(
            links=self.links(),
            routes=frozenset(self.routes),
            rules=frozenset(self.rules),
            addresses=frozenset(self.addresses),
            foreign=frozenset(),
            settings={},
        )

    def add(self, thing: Route | Rule | LinkAddress) -> None:
        match thing:
            case Route():
                self.routes.add(thing)
            case Rule():
                self.rules.add(thing)
            case LinkAddress():
                self.addresses.add(thing)

    def remove(self, thing: Route | Rule | LinkAddress) -> None:
        match thing:
            case Route():
                self.routes.discard(thing)
            case Rule():
                self.rules.discard(thing)
            case LinkAddress():
                self.addresses.discard(thing)

    def set_up(self, link: str) -> None:
        assert link in self._links, f"no link {link}"

    def set_mac(self, link: str, mac: str) -> None:
        self._links[link] = replace(self._links[link], mac=mac)

    def set_label(self, link: str, label: str) -> None:
        self._links[link] = replace(self._links[link], label=label)

    def keep_setting(self, setting: Sysctl) -> bool:
        return False

    def forget_connections(self, addresses: Collection[IPv4Address]) -> None:
        if self.conntrack_failure is not None:
            raise self.conntrack_failure
        self.forgotten.extend(addresses)

    def give_marks(self, marks: Mapping[IPv4Address, int]) -> None:
        self.source_marks |= marks

    def keep_marks(self, marks: Mapping[IPv4Address, int]) -> bool:
        self.source_marks = dict(marks)
        return False

    def marks(self) -> Mapping[IPv4Address, int]:
        return self.source_marks

    def keep_ingress(self, ingress: Ingress | None) -> bool:
        was, self.ingress = self.ingress, ingress
        return was != ingress


class MemoryExclusiveKernel:
    """The ExclusiveKernel port in memory: which ENI is in a sandbox, by MAC."""

    def __init__(self) -> None:
        self.taken_in: set[str] = set()

    def take_in(self, eni: SandboxEni, netns_fd: int) -> None:
        self.taken_in.add(eni.mac)

    def bring_back(self, mac: str, netns_path: str) -> bool:
        self.taken_in.discard(mac)
        return True

    def wrong(self, eni: SandboxEni, netns_fd: int) -> tuple[str, ...]:
        return () if eni.mac in self.taken_in else (f"{eni.ifname} is missing",)
