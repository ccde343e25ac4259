"""The node heals itself: wanted against observed, at start, every few seconds and on events.

Only what carries our mark is ever removed; what others made is neither read nor touched.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from shared.clock import Clock
from shared.errors import BerthError
from shared.runtime.pulse import Pulse
from shared.telemetry.metrics import REPAIRS_TOTAL

from .domain.attachments import Attachment, Phase, is_pod_link
from .domain.diff import compare
from .domain.ports import Kernel
from .domain.wiring import MAC_PREFIX, PodWire
from .ledger import Ledger
from .links import NodeLinks

log = logging.getLogger(__name__)

Thing = TypeVar("Thing")


class Repairer:
    """Compares and puts right."""

    def __init__(
        self, *, kernel: Kernel, ledger: Ledger, links: NodeLinks, clock: Clock
    ) -> None:
        self._kernel = kernel
        self._ledger = ledger
        self._links = links
        self._clock = clock
        self.repaired = Pulse()

    def start(self) -> None:
        """Before anything is served: undo what a crash cut off, then make kernel = book."""
        self._links.refresh()
        present = {link.name for link in self._kernel.links()}
        for attachment in self._ledger.attachments:
            is_whole = attachment.phase is Phase.WIRED and attachment.host_ifname in present
            if not is_whole or not _exists(attachment.netns_path):
                log.info("undone at start", extra={"attachment": str(attachment.key)})
                self._links.unwire(attachment)
                self._kernel.remove_links([(attachment.host_ifname, attachment.host_mac)])
                self._ledger.close(attachment, self._clock.now())
        self._remove_strangers()
        self.repair()

    def round(self) -> int:
        """Look for ENIs that came or went, then compare; how many things were not as wanted."""
        self._links.refresh()
        return self.repair()

    def repair(self) -> int:
        """One comparison; returns how many things were not as wanted."""
        observed = self._kernel.observe()
        present = {link.name for link in observed.links}
        self._close_ended(present)
        rewired = self._each("pod", self._cut_off(present), self._rewire)
        if rewired:
            observed = self._kernel.observe()
            present = {link.name for link in observed.links}
        has_left_table = self._links.avoid_taken(observed)
        steady, unsteady = self._split(present)
        node = self._links.node_wire()
        # What is being made, or waits for its ENI, is neither missing nor unwanted.
        routes = compare(
            frozenset([*node.routes, *(r for wire in steady for r in wire.routes)]),
            observed.routes - {r for wire in unsteady for r in wire.routes},
        )
        rules = compare(frozenset(node.rules), observed.rules)
        mac_of = {wire.host_ifname: wire.host_mac for wire in steady}
        displaced = [
            (link.name, mac_of[link.name])
            for link in observed.links
            if mac_of.get(link.name, link.mac) != link.mac
        ] + self._links.displaced(observed)
        ours = {*node.links_up, *(wire.host_ifname for wire in steady)}
        down = [link.name for link in observed.links if link.name in ours and not link.is_up]
        label_of = {wire.host_ifname: wire.label for wire in steady}
        unlabelled = [
            (link.name, label_of[link.name])
            for link in observed.links
            if label_of.get(link.name, link.label) != link.label
        ]
        settings = [
            setting
            for setting in (*node.sysctls, *(s for wire in steady for s in wire.sysctls))
            if observed.settings.get(setting.key) not in setting.allowed
        ]
        # A route needs its link up and its own address; a rule must not precede its table; and
        # what takes another's place is there before that goes.
        count = rewired + (
            self._each("table", [None] * has_left_table, lambda _: None)
            + self._each("sysctl", settings, self._kernel.keep_setting)
            + self._each("mac", displaced, self._set_mac)
            + self._each("label", unlabelled, self._set_label)
            + self._each("link", down, self._kernel.set_up)
            + self._each(
                "address", frozenset(node.addresses) - observed.addresses, self._kernel.add
            )
            + self._each("route", routes.missing, self._kernel.add)
            + self._each("rule", rules.missing, self._kernel.add)
            + self._each("rule", rules.unwanted, self._kernel.remove)
            + self._each("route", routes.unwanted, self._kernel.remove)
            + self._each("nftables", [node.ingress], self._kernel.keep_ingress)
            + self._each("nftables", ["marks of sources"], lambda _: self._keep_marks())
        )
        if count:
            self.repaired.give()
        return count

    def _close_ended(self, present: set[str]) -> None:
        """Of a sandbox whose path nobody knows its link tells whether it lives."""
        for each in self._ledger.attachments:
            is_ended = not each.netns_path and each.host_ifname not in present
            if is_ended and each.phase is Phase.WIRED:
                log.warning("its namespace has ended", extra={"attachment": str(each.key)})
                self._links.unwire(each)
                self._ledger.close(each, self._clock.now())

    def _cut_off(self, present: set[str]) -> list[Attachment]:
        """Pods whose link was deleted while their sandbox lives: both its ends are gone."""
        return [
            attachment
            for attachment in self._ledger.attachments
            if attachment.host_ifname not in present
            and attachment.phase is Phase.WIRED
            and attachment.own_eni is None
            and attachment.eni in self._links
            and _is_there(attachment)
        ]

    def _rewire(self, attachment: Attachment) -> None:
        self._kernel.rewire_pod(self._links.wire_of(attachment), attachment.netns_path)

    def _split(self, link_names: set[str]) -> tuple[list[PodWire], list[PodWire]]:
        steady: list[PodWire] = []
        unsteady: list[PodWire] = []
        for attachment in self._ledger.attachments:
            is_steady = (
                attachment.phase is Phase.WIRED
                and attachment.host_ifname in link_names
                and (attachment.eni in self._links or attachment.own_eni is not None)
            )
            (steady if is_steady else unsteady).append(self._links.wire_of(attachment))
        return steady, unsteady

    def _keep_marks(self) -> bool:
        return self._kernel.keep_marks(self._links.marks())

    def _set_mac(self, displaced: tuple[str, str]) -> None:
        link, mac = displaced
        self._kernel.set_mac(link, mac)

    def _set_label(self, unlabelled: tuple[str, str]) -> None:
        link, label = unlabelled
        self._kernel.set_label(link, label)

    def _each(
        self, kind: str, things: Iterable[Thing], put_right: Callable[[Thing], bool | None]
    ) -> int:
        """Put each right; those that tell whether they had drifted count only then."""
        count = 0
        for thing in things:
            try:
                if put_right(thing) is False:
                    continue
            except BerthError as error:  # the others must not wait for this one
                log.warning("not repaired", extra={"kind": kind, "error": str(error)})
            else:
                log.info("repaired", extra={"kind": kind, "thing": str(thing)})
            REPAIRS_TOTAL.labels(kind).inc()
            count += 1
        return count

    def _remove_strangers(self) -> None:
        """Host links of ours that no attachment has: a crash came before their deletion."""
        known = {(each.host_ifname, each.host_mac) for each in self._ledger.attachments}
        present = [(link.name, link.mac) for link in self._kernel.links()]
        self._kernel.remove_links(
            [
                (name, mac)
                for name, mac in present
                if is_pod_link(name) and mac.startswith(MAC_PREFIX) and (name, mac) not in known
            ]
        )


def _is_there(attachment: Attachment) -> bool:
    """Whether its path still names the namespace that it was wired into."""
    try:
        return os.stat(attachment.netns_path).st_ino == attachment.netns_inode
    except OSError:
        return False


def _exists(netns_path: str) -> bool:
    return not netns_path or os.path.exists(netns_path)
