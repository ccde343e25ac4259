"""What operators say of a cluster, as the command line says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from berth.enabling import EnableWords, disable_cluster, enable_cluster, fetch_status
from shared.annotations import NetworkMode
from shared.bus.client import BusClient
from shared.clusters import Cluster, Operation, SubnetState
from shared.errors import TryLater
from shared.ids import SubnetId
from shared.messages.cluster_life import (
    SUBNET_ADD,
    SUBNET_REMOVE,
    SUBNET_SET,
    ClusterStatus,
    SubnetAddRequest,
    SubnetRemoveRequest,
    SubnetSetRequest,
)
from shared.messages.clusters import (
    NODE_LIST,
    SUBNET_LIST,
    NodeListRequest,
    NodeView,
    SubnetListRequest,
    SubnetView,
)

FOLLOW_S = 30.0


class Operator:
    """Remembers every step that an enabling or disabling told."""

    def __init__(self, bus: BusClient) -> None:
        self._bus = bus
        self.steps: list[Operation] = []

    async def enable(
        self, *subnets: str, has_fixed_ips: bool = True, pods_max: int = 5
    ) -> ClusterStatus:
        words = EnableWords(
            modes=(NetworkMode.SHARED,),
            subnets=tuple(SubnetId(each) for each in subnets),
            has_fixed_ips=has_fixed_ips,
            pods_max=pods_max,
        )
        return await enable_cluster(
            self._bus, words, by="ann", on_step=self.steps.append, follow_s=FOLLOW_S
        )

    async def disable(self, *, ends_retained: bool = False) -> ClusterStatus:
        return await disable_cluster(
            self._bus,
            ends_retained=ends_retained,
            by="bob",
            on_step=self.steps.append,
            follow_s=FOLLOW_S,
        )

    async def status(self) -> ClusterStatus:
        return await fetch_status(self._bus)

    async def is_answered(self) -> bool:
        try:
            await self.status()
        except TryLater:
            return False
        return True

    async def cluster(self) -> Cluster:
        found = (await self.status()).cluster
        assert found is not None, "it was enabled"
        return found

    async def add(self, subnet: str, *, reclaims: bool = False) -> ClusterStatus:
        request = SubnetAddRequest(
            subnet=subnet, reclaims_under_pressure=reclaims, by="ann", deadline=_soon()
        )
        return await self._bus.call(SUBNET_ADD, request)

    async def set(
        self, subnet: str, state: SubnetState | None = None, *, reclaims: bool | None = None
    ) -> ClusterStatus:
        request = SubnetSetRequest(
            subnet=subnet,
            state=state,
            reclaims_under_pressure=reclaims,
            by="ann",
            deadline=_soon(),
        )
        return await self._bus.call(SUBNET_SET, request)

    async def remove(self, subnet: str) -> ClusterStatus:
        request = SubnetRemoveRequest(subnet=subnet, by="ann", deadline=_soon())
        return await self._bus.call(SUBNET_REMOVE, request)

    async def subnets(self) -> dict[str, SubnetView]:
        found = await self._bus.call(SUBNET_LIST, SubnetListRequest(deadline=_soon()))
        return {each.subnet: each for each in found.subnets}

    async def node(self, name: str) -> NodeView:
        found = await self._bus.call(NODE_LIST, NodeListRequest(node=name, deadline=_soon()))
        return found.nodes[0]


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=10)
