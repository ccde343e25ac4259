"""The node's ENIs in its kernel: found by MAC, set up, known by their tables."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address
from typing import Final

from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import AttachmentKey, EniId
from shared.runtime.pulse import Pulse
from shared.telemetry.metrics import TABLES_DISPLACED

from .domain.attachments import Attachment, OwnEni
from .domain.enis import Eni
from .domain.exclusive import own_eni, sandbox_eni
from .domain.marks import with_marks
from .domain.ports import ExclusiveKernel, Kernel, Link, Observed
from .domain.tables import taken_tables
from .domain.wiring import EniLink, NodeWire, PodWire, WiringRules, node_wire, pod_wire
from .ledger import Ledger

log = logging.getLogger(__name__)

_CALM_S: Final = 5.0  # between looks when all are there: the repair looks too
_LOOK_S: Final = 0.1  # between looks for a link that is being attached
_BACK_S: Final = 2.0  # for the kernel to end a namespace
_WIRES_SPARE: Final = 64


class NodeLinks:
    """Which ENIs can carry pods now. As a container it holds the ids of those that many pods
    share; `exclusive` holds those that one pod may have."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        exclusive_kernel: ExclusiveKernel,
        ledger: Ledger,
        rules: WiringRules,
        clock: Clock,
        stock_changed: Pulse,
    ) -> None:
        self._kernel = kernel
        self._exclusive_kernel = exclusive_kernel
        self._stock_changed = stock_changed
        self.exclusive: Container[EniId] = _Exclusive(self)
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._found: dict[EniId, EniLink] = {}
        self._wires: dict[AttachmentKey, tuple[Attachment, EniLink | None, PodWire]] = {}
        self.changed = Pulse()

    def __contains__(self, eni: object) -> bool:
        found = self._found.get(eni)  # type: ignore[call-overload] # any key may be asked for
        return found is not None and bool(found.mark)

    @property
    def names(self) -> list[EniId]:
        """Those in use or ready to be; one that is a pod's own has no link here."""
        return [
            each.eni for each in self._ledger.node.enis if each.is_exclusive or each.eni in self
        ]

    @property
    def is_complete(self) -> bool:
        in_sandboxes = {
            each.eni for each in self._ledger.attachments if each.own_eni is not None
        }
        return all(
            each.eni in self._found or each.eni in in_sandboxes
            for each in self._ledger.node.enis
        )

    def get(self, eni: EniId) -> EniLink | None:
        return self._found.get(eni)

    def refresh(self) -> None:
        """Look for every ENI's link; one that is new is set up before it is counted."""
        present = self._kernel.links()
        by_mac = {link.mac: link for link in present}
        by_index = {link.index: link for link in present}
        found = {
            eni.eni: EniLink(
                eni=eni,
                link=link.name,
                index=link.index,
                mtu=link.mtu,
                mark=self._found[eni.eni].mark if eni.eni in self._found else 0,
            )
            for eni in self._ledger.node.enis
            if (link := by_mac.get(eni.mac) or self._displaced(eni, by_index)) is not None
        }
        if found == self._found:
            return
        for eni_id, each in found.items():  # whoever had it last may not have left it clean
            if each.eni.is_exclusive and eni_id not in self._found:
                self._exclusive_kernel.bring_back(each.eni.mac, "")
        observed = self._kernel.observe()
        self.avoid_taken(observed, tuple(found.values()))
        links = with_marks(found.values(), self._rules, observed.rules)
        wire = node_wire(links, self._rules)
        for setting in wire.sysctls:
            self._kernel.keep_setting(setting)
        for address in wire.addresses:
            self._kernel.add(address)
        for link_name in wire.links_up:
            self._kernel.set_up(link_name)
        for route in wire.routes:
            self._kernel.add(route)
        for rule in wire.rules:
            self._kernel.add(rule)
        for rule in set(self.node_wire().rules).difference(wire.rules):
            self._kernel.remove(rule)  # of an ENI that has gone
        self._kernel.keep_ingress(wire.ingress)
        self._found = {each.eni.eni: each for each in links}
        self.give_marks()
        log.info("ENIs set up", extra={"links": {e.eni.eni: e.link for e in links}})
        for each in links:
            if each.eni.is_shared and not each.mark:
                log.error("ENI not used: no mark is left for it", extra={"eni": each.eni.eni})
        self.changed.give()
        self._stock_changed.give()

    def marks(self) -> Mapping[IPv4Address, int]:
        """What marks are given for: each address here, whether a pod has it yet or not."""
        return {
            holding.address: link.mark
            for holding in self._ledger.stock
            if (link := self._found.get(holding.eni)) is not None and link.mark
        }

    def give_marks(self) -> None:
        """Before pods have the addresses, so that their ADDs need not."""
        self._kernel.give_marks(self.marks())

    def avoid_taken(self, observed: Observed, links: tuple[EniLink, ...] = ()) -> bool:
        """Leave tables that others use; whether one was left. `links` are to be set up next."""
        if not observed.foreign:
            return False
        here = tuple(self._found.values())
        wires = (self.wire_of(each) for each in self._ledger.attachments)
        new = taken_tables(
            observed.foreign,
            in_use=self._tables(here) | {route.table for route in observed.routes},
            wanted=(
                *node_wire(here, self._rules).routes,
                *(route for wire in wires for route in wire.routes),
            ),
        )
        left = new & self._tables((*here, *links))
        if new - self._rules.taken:
            self._rules = replace(self._rules, taken=self._rules.taken | new)
            self._wires.clear()
        for table in sorted(left):
            log.warning("routing table is somebody else's", extra={"table": table})
        TABLES_DISPLACED.set(self._rules.displaced((*here, *links)))
        return bool(left)

    def _tables(self, links: tuple[EniLink, ...]) -> frozenset[int]:
        return frozenset({self._rules.pods_table, *map(self._rules.table_of, links)})

    def displaced(self, observed: Observed) -> list[tuple[str, str]]:
        """Links of ENIs that have another MAC than theirs: the name, and the MAC to have."""
        mac_of = {link.index: link.mac for link in observed.links}
        return [
            (each.link, each.eni.mac)
            for each in self._found.values()
            if mac_of.get(each.index, each.eni.mac) != each.eni.mac
        ]

    def _displaced(self, eni: Eni, by_index: dict[int, Link]) -> Link | None:
        """An ENI's link that is where it was, under another MAC."""
        known = self._found.get(eni.eni)
        link = None if known is None else by_index.get(known.index)
        return link if known is not None and link and link.name == known.link else None

    async def watch(self) -> None:
        """Find links that come after the word about them."""
        while True:
            if self.is_complete:
                await self.changed.wait(_CALM_S)
            else:
                await asyncio.sleep(_LOOK_S)
            self.refresh()

    async def wait(self, eni: EniId, deadline: datetime) -> EniLink:
        """The ENI's link, as soon as the cloud has plugged it in."""
        while (link := self._found.get(eni)) is None:
            left_s = (deadline - self._clock.now()).total_seconds()
            if left_s <= 0 or not await self.changed.wait(left_s):
                raise Unavailable(f"ENI {eni}: its link has not appeared on this node yet")
        return link

    def wire_of(self, attachment: Attachment) -> PodWire:
        """The wire of an attachment; of an ENI that is gone, enough of it to take it away."""
        link = self._found.get(attachment.eni)
        known = self._wires.get(attachment.key)
        if known is not None and known[0] is attachment and known[1] is link:
            return known[2]  # a repair asks for every attachment's
        wire = pod_wire(attachment, link, self._rules)
        if len(self._wires) > 2 * len(self._ledger.attachments) + _WIRES_SPARE:
            self._wires.clear()  # mostly of attachments that have ended
        self._wires[attachment.key] = (attachment, link, wire)
        return wire

    def own_eni(self, eni: EniLink, ifname: str, veth_mac: str) -> OwnEni:
        """What a sandbox gets that is given this ENI as a whole."""
        node = [each for each in self._found.values() if not each.eni.is_exclusive]
        return own_eni(eni, ifname, veth_mac, node, self._rules)

    def take_in(self, attachment: Attachment, netns_fd: int) -> None:
        """Move the attachment's own ENI into its sandbox."""
        self._exclusive_kernel.take_in(sandbox_eni(attachment), netns_fd)
        self._found.pop(attachment.eni, None)

    def wrong_in_sandbox(self, attachment: Attachment, netns_fd: int) -> tuple[str, ...]:
        return self._exclusive_kernel.wrong(sandbox_eni(attachment), netns_fd)

    def unwire(self, attachment: Attachment) -> None:
        """Nothing leads to it when this returns, and an ENI of its own is back: down, without
        an address. Its host link may go later."""
        self._kernel.unwire_pod(self.wire_of(attachment))
        if attachment.own_eni is not None and self._exclusive_kernel.bring_back(
            attachment.mac, attachment.netns_path
        ):
            self.refresh()

    async def wait_back(self, attachment: Attachment) -> None:
        """The kernel ends a namespace in the background, and an ENI inside comes back after.
        One that is awaited in vain is used again once its link is found."""
        if attachment.own_eni is None or attachment.eni not in self._ledger.enis:
            return
        until_s = self._clock.monotonic_s() + _BACK_S
        while attachment.eni not in self.exclusive:
            if self._clock.monotonic_s() > until_s:
                log.warning("ENI is not back yet", extra={"eni": attachment.eni})
                return
            await asyncio.sleep(_LOOK_S)
            self.refresh()

    def node_wire(self) -> NodeWire:
        return node_wire(tuple(self._found.values()), self._rules)


@dataclass(frozen=True, slots=True)
class _Exclusive:
    """The ENIs that are here and may move into a sandbox."""

    links: NodeLinks

    def __contains__(self, eni: object) -> bool:
        found = self.links.get(eni)  # type: ignore[arg-type] # any key may be asked for
        return found is not None and found.eni.is_exclusive
