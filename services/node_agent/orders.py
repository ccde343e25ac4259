"""What the owner of the node's shard says to this node: offers, recalls, questions.

An order below the last (term, sequence) obeyed is refused, so that a shard's former owner
cannot undo what its successor did.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final

from shared.addresses import AddressState
from shared.clock import Clock
from shared.errors import NotAuthorised, Stale
from shared.ids import EniId, Identity, NodeName, SubnetId
from shared.messages.base import AttachmentFields, EniFields, IdentityFields
from shared.messages.leases import Acquired
from shared.messages.nodes import (
    Inventory,
    InventoryEntry,
    InventoryRequest,
    OfferAccepted,
    OfferedAddress,
    Order,
    StockOffer,
    StockRecall,
    StockRecalled,
    WaitingPod,
)
from shared.telemetry.metrics import EVICTED_HOLDERS_TOTAL

from .bus import Signals
from .domain.enis import Eni
from .domain.ports import Kernel
from .domain.stock import Holding
from .failures import Failures
from .ledger import Ledger
from .links import NodeLinks
from .outbox import identity_of
from .registration import Self

log = logging.getLogger(__name__)

_DETAIL_MAX: Final = 1024


class Orders:
    """Handlers of ``agent.<node>.*``."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        links: NodeLinks,
        kernel: Kernel,
        failures: Failures,
        clock: Clock,
        me: Self,
        signals: Signals,
    ) -> None:
        self._ledger = ledger
        self._links = links
        self._kernel = kernel
        self._failures = failures
        self._clock = clock
        self._me = me
        self._signals = signals

    async def offer(self, order: StockOffer) -> OfferAccepted:
        """Own what is offered and set its ENIs up; on disk before it is said."""
        self._obey(order)
        enis = [eni_of(fields) for fields in order.enis]
        accepted, refused = self._ledger.accept(
            enis,
            [(offered.address, EniId(offered.eni)) for offered in order.addresses],
            self._clock.now(),
        )
        self._links.refresh()
        self._links.give_marks()
        self._evict_from_lost_enis()
        self._strike_lost(order.lost)
        self._signals.give_all()
        return OfferAccepted(accepted=accepted, refused=tuple(refused))

    async def recall(self, order: StockRecall) -> StockRecalled:
        """Struck off the book before the answer; the same id has the same answer."""
        self._obey(order)
        struck = self._ledger.recall(
            order.recall,
            order.count,
            None if order.eni is None else EniId(order.eni),
            order.settled,
            self._clock.now(),
            is_exclusive=order.is_exclusive,
        )
        self._signals.give_all()
        return StockRecalled(
            addresses=[OfferedAddress(address=address, eni=eni) for address, eni in struck]
        )

    async def inventory(self, request: InventoryRequest) -> Inventory:
        self._check_node(NodeName(request.node))
        wires = self._wires() if request.with_kernel else {}
        return Inventory(
            node=self._me.node,
            instance=self._me.instance,
            incarnation=self._ledger.node.incarnation,
            enis=[_fields_of(eni) for eni in self._ledger.node.enis],
            addresses=[
                self._entry(holding, wires.get(holding.address))
                for holding in self._ledger.stock
            ],
            waiting=tuple(
                WaitingPod(
                    identity=IdentityFields.of(
                        Identity(failed.pod.namespace, failed.pod.name, failed.network)
                    ),
                    code=failed.code,
                    detail=failed.detail[:_DETAIL_MAX],
                    since=failed.since,
                    attempts=failed.attempts,
                )
                for failed in self._failures
            ),
        )

    def learn_eni(self, acquired: Acquired) -> None:
        """An answer named the ENI its address was moved to: perhaps a new one of this node."""
        if acquired.moved_eni is not None and acquired.eni not in self._ledger.enis:
            enis = (*self._ledger.node.enis, eni_of(acquired.moved_eni))
            self._ledger.accept(enis, (), self._clock.now())
            self._links.refresh()

    def _obey(self, order: Order) -> None:
        self._check_node(NodeName(order.node))
        last = (self._ledger.node.term, self._ledger.node.sequence)
        if (order.term, order.sequence) < last:
            raise Stale(
                f"order {order.term}.{order.sequence} is older than {last[0]}.{last[1]}"
            )
        self._ledger.obey(order.term, order.sequence)

    def _check_node(self, node: NodeName) -> None:
        if node != self._me.node:
            raise NotAuthorised(f"node: this is {self._me.node!r}, not {node!r}")

    def _evict_from_lost_enis(self) -> None:
        """The cloud took an ENI, and its link is gone too: nothing may answer from it."""
        for holding in list(self._ledger.stock):
            is_known = holding.eni in self._ledger.enis
            if is_known or self._links.get(holding.eni) is not None:
                continue
            attachment = self._ledger.attachments.of_address(holding.address)
            if attachment is not None:
                self._links.unwire(attachment)
                self._kernel.remove_links([(attachment.host_ifname, attachment.host_mac)])
                self._ledger.close(attachment, self._clock.now())
                EVICTED_HOLDERS_TOTAL.inc()
                log.warning("holder evicted", extra={"attachment": str(attachment.key)})
            if holding.state is not AddressState.BOUND_FIXED:
                self._ledger.evict(holding.address)

    def _strike_lost(self, lost: Iterable[IPv4Address]) -> None:
        """Somebody took addresses off their ENI at the cloud."""
        for address in lost:
            if self._ledger.strike_lost(address):
                log.warning("free address struck off", extra={"address": str(address)})

    def _wires(self) -> dict[IPv4Address, bool]:
        """Of each attachment's address: whether the kernel has its wire, up and whole."""
        observed = self._kernel.observe()
        marks = self._kernel.marks()
        up = {(link.name, link.mac) for link in observed.links if link.is_up}
        wires = {}
        for attachment in self._ledger.attachments:
            wire = self._links.wire_of(attachment)
            wires[attachment.address] = (
                (attachment.host_ifname, attachment.host_mac) in up
                and observed.routes.issuperset(wire.routes)
                and observed.rules.issuperset(wire.node_rules)
                and marks.get(attachment.address, 0) == wire.mark
            )
        return wires

    def _entry(self, holding: Holding, is_wired: bool | None) -> InventoryEntry:
        attachment = self._ledger.attachments.of_address(holding.address)
        claim = self._ledger.claim_on(holding.address)
        user = self._ledger.users.get(holding.address)
        identity = claim.identity if claim is not None else identity_of(user)
        uid = claim.pod_uid if claim is not None else user and user.pod_uid
        holder = claim or attachment
        return InventoryEntry(
            address=holding.address,
            eni=holding.eni,
            state=holding.state,
            identity=None if identity is None else IdentityFields.of(identity),
            pod_uid=uid,
            attachment=None if holder is None else AttachmentFields.of(holder.key),
            generation=None if claim is None else claim.generation,
            since=holding.since,
            is_wired=is_wired,
        )


def eni_of(fields: EniFields) -> Eni:
    return Eni(
        eni=fields.eni_id,
        subnet=fields.subnet_id,
        mac=fields.mac,
        primary_address=fields.primary_address,
        subnet_cidr=fields.subnet_cidr,
        gateway=fields.gateway,
        is_primary=fields.is_primary,
        is_exclusive=fields.is_exclusive,
    )


def _fields_of(eni: Eni) -> EniFields:
    return EniFields(
        eni=eni.eni,
        subnet=SubnetId(eni.subnet),
        mac=eni.mac,
        primary_address=eni.primary_address,
        subnet_cidr=eni.subnet_cidr,
        gateway=eni.gateway,
        is_primary=eni.is_primary,
        is_exclusive=eni.is_exclusive,
    )
