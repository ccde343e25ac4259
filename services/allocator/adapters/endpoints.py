"""The allocator's face on the bus, and its own calls to the eni_manager."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.allocator.cluster_life import ClusterLife
from services.allocator.domain.leases import Lease
from services.allocator.gone_nodes import GoneNodes
from services.allocator.operations import LeaseOperations
from services.allocator.pressure import Pressure
from services.allocator.recovery import RecoveryOperations
from services.allocator.service import Allocator
from shared.bus.client import BusClient
from shared.bus.server import Handler
from shared.messages.base import Endpoint, EniFields, IdentityFields
from shared.messages.cluster_life import (
    CLUSTER_DISABLE,
    CLUSTER_ENABLE,
    CLUSTER_STATUS,
    SUBNET_ADD,
    SUBNET_REMOVE,
    SUBNET_SET,
)
from shared.messages.departures import NODE_GONE
from shared.messages.leases import (
    LEASE_ACQUIRE,
    LEASE_FORGET,
    LEASE_GET,
    LEASE_LIST,
    LEASE_MAKE_ROOM,
    LEASE_POLICY,
    LEASE_RELEASE,
    LEASE_REPORT,
)
from shared.messages.moves import (
    ADDRESS_MOVE,
    ADDRESS_PARK,
    ADDRESS_RECLAIM,
    MoveRequest,
    ParkRequest,
    ReclaimRequest,
)
from shared.messages.nodes import NODE_REGISTER
from shared.messages.recovery import (
    LEASE_BACKUP,
    LEASE_RESTORE,
    RECOVER,
    RECOVERY_STATUS,
    RECOVERY_TRIAL,
)


def handlers(
    allocator: Allocator,
    operations: LeaseOperations,
    cluster: ClusterLife,
    recovery: RecoveryOperations,
    pressure: Pressure,
    gone_nodes: GoneNodes,
) -> dict[Endpoint[Any, Any], Handler[Any, Any]]:
    """Which use case answers which subject."""
    return {
        NODE_REGISTER: allocator.register,
        NODE_GONE: gone_nodes.end,
        LEASE_ACQUIRE: allocator.acquire,
        LEASE_RELEASE: allocator.release,
        LEASE_REPORT: allocator.report,
        LEASE_GET: allocator.get,
        LEASE_LIST: allocator.page,
        LEASE_FORGET: operations.forget,
        LEASE_POLICY: operations.set_policy,
        LEASE_MAKE_ROOM: pressure.make_room,
        LEASE_BACKUP: recovery.backup,
        LEASE_RESTORE: recovery.restore,
        RECOVERY_TRIAL: recovery.try_recovery,
        RECOVER: recovery.recover,
        RECOVERY_STATUS: recovery.status,
        CLUSTER_ENABLE: cluster.enable,
        CLUSTER_DISABLE: cluster.disable,
        CLUSTER_STATUS: cluster.status,
        SUBNET_ADD: cluster.add_subnet,
        SUBNET_SET: cluster.set_subnet,
        SUBNET_REMOVE: cluster.remove_subnet,
    }


class BusEniManager:
    """Has the eni_manager move an address, or take it back."""

    def __init__(self, client: BusClient) -> None:
        self._client = client

    async def move(self, lease: Lease, deadline: datetime) -> EniFields:
        assert lease.moving_to is not None, "only a moving lease is moved"
        moved = await self._client.call(
            ADDRESS_MOVE,
            MoveRequest(
                deadline=deadline,
                identity=IdentityFields.of(lease.identity),
                address=lease.address,
                subnet=lease.subnet,
                from_eni=lease.eni,
                to_node=lease.moving_to,
                generation=lease.generation,
            ),
        )
        return moved.eni

    async def reclaim(self, lease: Lease, deadline: datetime) -> None:
        await self._client.call(
            ADDRESS_RECLAIM,
            ReclaimRequest(
                deadline=deadline,
                identity=IdentityFields.of(lease.identity),
                address=lease.address,
                node=lease.node,
                eni=lease.eni,
                generation=lease.generation,
            ),
        )

    async def park(self, lease: Lease, deadline: datetime) -> None:
        assert lease.node is not None, "an ENI leaves the node that it is on"
        assert lease.eni is not None, "a lease that is on a node names its ENI"
        await self._client.call(
            ADDRESS_PARK,
            ParkRequest(
                deadline=deadline,
                identity=IdentityFields.of(lease.identity),
                address=lease.address,
                eni=lease.eni,
                node=lease.node,
                generation=lease.generation,
            ),
        )
