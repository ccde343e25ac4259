"""Agents over the bus, and the events: domain words in, messages out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

from services.eni_manager.domain.ports import OfferAnswer, Order
from services.eni_manager.domain.records import AddressRecord, EniRecord, NodeRecord
from shared.bus.client import BusClient
from shared.bus.events import EventLog
from shared.clock import Clock
from shared.ids import EniId, NodeName, SubnetId
from shared.messages.base import Endpoint, EniFields
from shared.messages.events import AddressEvent, EniEvent, NodeEvent, SubnetEvent
from shared.messages.nodes import (
    AGENT_INVENTORY,
    STOCK_OFFER,
    STOCK_RECALL,
    InventoryRequest,
    OfferedAddress,
    StockOffer,
    StockRecall,
)


def eni_fields(record: EniRecord) -> EniFields:
    return EniFields(
        eni=record.eni,
        subnet=record.subnet,
        mac=record.mac,
        primary_address=record.primary_address,
        subnet_cidr=record.cidr,
        gateway=record.gateway,
        is_primary=record.is_primary,
        is_exclusive=record.is_exclusive,
    )


class BusAgents:
    """Implements Agents."""

    def __init__(self, bus: BusClient, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def offer(
        self,
        node: NodeName,
        order: Order,
        enis: Sequence[EniRecord],
        addresses: Sequence[AddressRecord],
        lost: Collection[IPv4Address] = (),
    ) -> OfferAnswer:
        request = StockOffer(
            deadline=self._deadline(STOCK_OFFER),
            node=node,
            term=order.term,
            sequence=order.sequence,
            enis=[eni_fields(each) for each in enis],
            addresses=[OfferedAddress(address=it.address, eni=it.eni) for it in addresses],
            lost=tuple(sorted(lost)),
        )
        answer = await self._bus.call(STOCK_OFFER, request, node)
        return OfferAnswer(
            accepted=frozenset(answer.accepted), refused=frozenset(answer.refused)
        )

    async def recall(
        self,
        node: NodeName,
        order: Order,
        *,
        recall: str,
        eni: EniId | None,
        count: int,
        settled: Sequence[str],
        is_exclusive: bool = False,
    ) -> list[IPv4Address]:
        request = StockRecall(
            deadline=self._deadline(STOCK_RECALL),
            node=node,
            term=order.term,
            sequence=order.sequence,
            recall=recall,
            eni=eni,
            count=count,
            settled=tuple(settled),
            is_exclusive=is_exclusive,
        )
        answer = await self._bus.call(STOCK_RECALL, request, node)
        return [each.address for each in answer.addresses]

    async def inventory(self, node: NodeName) -> set[IPv4Address]:
        request = InventoryRequest(deadline=self._deadline(AGENT_INVENTORY), node=node)
        answer = await self._bus.call(AGENT_INVENTORY, request, node)
        return {each.address for each in answer.addresses}

    def _deadline(self, endpoint: Endpoint[Any, Any]) -> datetime:
        return self._clock.now() + timedelta(seconds=endpoint.timeout_s)


class BusEvents:
    """Implements Events."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    def eni(
        self,
        verb: str,
        eni: EniId,
        node: NodeName,
        subnet: SubnetId,
        detail: str | None = None,
    ) -> None:
        event = EniEvent(
            verb=verb, eni=eni, node=node, subnet=subnet, at=self._clock.now(), detail=detail
        )
        self._log.tell(event, message_id=f"eni-{eni}-{verb}-{node}")

    def address(
        self, verb: str, address: IPv4Address, eni: EniId, node: NodeName, reason: str | None
    ) -> None:
        now = self._clock.now()
        event = AddressEvent(
            verb=verb, address=address, eni=eni, node=node, reason=reason, at=now
        )
        self._log.tell(event, message_id=f"address-{address}-{verb}-{eni}-{now.timestamp()}")

    def node(self, verb: str, node: NodeRecord, detail: str | None) -> None:
        now = self._clock.now()
        event = NodeEvent(
            verb=verb, node=node.node, instance=node.instance, detail=detail, at=now
        )
        self._log.tell(
            event, message_id=f"node-{node.node}-{verb}-{node.incarnation}-{now.timestamp()}"
        )

    def subnet(self, verb: str, subnet: SubnetId, detail: str) -> None:
        now = self._clock.now()
        event = SubnetEvent(verb=verb, subnet=subnet, detail=detail, at=now)
        self._log.tell(event, message_id=f"subnet-{subnet}-{verb}-{detail}-{now.timestamp()}")
