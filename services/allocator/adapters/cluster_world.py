"""The cluster's surroundings: the cloud by the eni_manager's word, the pods by their agents',
Kubernetes by the settings'."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from services.allocator.domain.cluster import PodInUse
from services.allocator.domain.cluster_checks import (
    ForeignAddress,
    KubernetesFacts,
    Look,
    SubnetLook,
)
from shared.addresses import AddressState
from shared.bus.client import BusClient
from shared.clock import Clock
from shared.ids import NodeName, SubnetId, VpcId, Zone
from shared.messages.base import Endpoint
from shared.messages.cluster_life import SUBNET_INSPECT, SubnetFacts, SubnetInspectRequest
from shared.messages.nodes import AGENT_INVENTORY, Inventory, InventoryEntry, InventoryRequest

_IN_USE: Final = frozenset({AddressState.BOUND_IMMEDIATE, AddressState.BOUND_FIXED})


class BusInventories:
    """Implements Inventories: each agent is asked itself."""

    def __init__(self, client: BusClient) -> None:
        self._client = client

    async def inventory(self, node: NodeName, deadline: datetime) -> Inventory:
        request = InventoryRequest(node=node, deadline=deadline)
        return await self._client.call(AGENT_INVENTORY, request, node)


class BusClusterWorld:
    """Implements CloudLook and AgentBooks."""

    def __init__(self, client: BusClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def look(
        self,
        subnets: Sequence[SubnetId],
        *,
        uses_of: Sequence[SubnetId] = (),
        deadline: datetime | None = None,
    ) -> Look:
        request = SubnetInspectRequest(
            deadline=deadline or self._deadline(SUBNET_INSPECT),
            subnets=list(subnets),
            finds_uses_of=tuple(uses_of),
        )
        found = await self._client.call(SUBNET_INSPECT, request)
        return Look(
            revision=found.revision,
            subnets={each.subnet: _look_of(each) for each in found.subnets},
            enis=found.enis,
            waits_for=found.waits_for,
        )

    async def pods_on(self, node: NodeName) -> list[PodInUse]:
        inventory = await BusInventories(self._client).inventory(
            node, self._deadline(AGENT_INVENTORY)
        )
        return [_pod_of(each, node) for each in inventory.addresses if each.state in _IN_USE]

    def _deadline(self, endpoint: Endpoint[Any, Any]) -> datetime:
        return self._clock.now() + timedelta(seconds=endpoint.timeout_s)


class SettingsKubernetes:
    """Implements Kubernetes by what an operator wrote into the settings."""

    def __init__(self, version: str | None, uses_cni: bool | None) -> None:
        self._facts = KubernetesFacts(version=version, uses_cni=uses_cni)

    async def facts(self) -> KubernetesFacts | None:
        return self._facts


def _look_of(facts: SubnetFacts) -> SubnetLook:
    return SubnetLook(
        subnet=SubnetId(facts.subnet),
        vpc=VpcId(facts.vpc),
        zone=Zone(facts.zone),
        cidr=facts.cidr,
        enis=facts.enis,
        addresses=facts.addresses,
        foreign=tuple(
            ForeignAddress(address=each.address, kind=each.kind, resource=each.resource)
            for each in facts.foreign
        ),
        foreign_count=facts.foreign_count,
    )


def _pod_of(entry: InventoryEntry, node: NodeName) -> PodInUse:
    if entry.identity is None:  # a sandbox that no pod was named for
        return PodInUse(pod=f"a sandbox on {entry.address}", node=node)
    return PodInUse.of(entry.identity.to_identity(), node)
