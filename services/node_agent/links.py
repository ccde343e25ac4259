"""The node's ENIs in its kernel: found by MAC, set up, known by their tables."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Final

from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import AttachmentKey, EniId

from .bus import Pulse
from .domain.attachments import Attachment
from .domain.ports import Kernel
from .domain.wiring import EniLink, NodeWire, PodWire, WiringRules, node_wire, pod_wire
from .ledger import Ledger

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.1  # between looks for a link that is being attached
_ANY_TABLE: Final = 0
_WIRES_SPARE: Final = 64


class NodeLinks:
    """Which ENIs can carry pods now. As a container it holds their ids."""

    def __init__(
        self, *, kernel: Kernel, ledger: Ledger, rules: WiringRules, clock: Clock
    ) -> None:
        self._kernel = kernel
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._found: dict[EniId, EniLink] = {}
        self._wires: dict[AttachmentKey, tuple[Attachment, int, PodWire]] = {}
        self.changed = Pulse()

    def __contains__(self, eni: object) -> bool:
        found = self._found.get(eni)  # type: ignore[call-overload] # any key may be asked for
        return found is not None and not found.eni.is_primary

    @property
    def names(self) -> list[EniId]:
        return [eni for eni in self._found if eni in self]

    @property
    def is_complete(self) -> bool:
        return len(self._found) == len(self._ledger.node.enis)

    def get(self, eni: EniId) -> EniLink | None:
        return self._found.get(eni)

    def refresh(self) -> None:
        """Look for every ENI's link; one that is new is set up before it is counted."""
        by_mac = {link.mac: link for link in self._kernel.links()}
        found = {
            eni.eni: EniLink(eni=eni, link=link.name, index=link.index, mtu=link.mtu)
            for eni in self._ledger.node.enis
            if (link := by_mac.get(eni.mac)) is not None
        }
        if found == self._found:
            return
        wire = node_wire(tuple(found.values()), self._rules)
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
        self._kernel.keep_ingress(wire.ingress)
        log.info("ENIs set up", extra={"links": {e: link.link for e, link in found.items()}})
        self._found = found
        self.changed.give()

    async def watch(self) -> None:
        """Find links that come after the word about them."""
        while True:
            if self.is_complete:
                await self.changed.wait(1.0)
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
        table = _ANY_TABLE if link is None else self._rules.table_of(link)
        known = self._wires.get(attachment.key)
        if known is not None and known[0] is attachment and known[1] == table:
            return known[2]  # a repair asks for every attachment's
        wire = pod_wire(attachment, pods_table=self._rules.pods_table, eni_table=table)
        if len(self._wires) > 2 * len(self._ledger.attachments) + _WIRES_SPARE:
            self._wires.clear()  # mostly of attachments that have ended
        self._wires[attachment.key] = (attachment, table, wire)
        return wire

    def node_wire(self) -> NodeWire:
        return node_wire(tuple(self._found.values()), self._rules)
