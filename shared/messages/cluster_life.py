"""``cluster.*`` and ``subnet.*``: what operators do to a cluster as a whole, hot.

A request is answered once its change is journaled; enabling and disabling then go on in the
services, and ``cluster.status`` tells how far they are. ``subnet.inspect`` is the allocator's
own question to the eni_manager: what only the cloud can say.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Final, Literal

from pydantic import Field

from shared.annotations import NetworkMode
from shared.clusters import Cluster, SubnetState

from .base import (
    BATCH_MAX,
    DETAIL_CHARACTERS_MAX,
    Endpoint,
    Message,
    Name,
    Request,
    ServiceName,
)

SUBNETS_MAX: Final = 64
PODS_MAX: Final = 4096
USES_SHOWN_MAX: Final = 20

Subnets = Annotated[list[Name], Field(min_length=1, max_length=SUBNETS_MAX)]
Count = Annotated[int, Field(ge=0)]


class ForeignUse(Message):
    """An address of a container subnet that is not ours."""

    address: IPv4Address
    kind: str  # ENI, RESERVE, CLB, … as the cloud calls it
    resource: str = ""  # the id of what has it, where the cloud tells


class ClusterEnableRequest(Request):
    type: Literal["berth.v1.cluster_enable_request"] = "berth.v1.cluster_enable_request"
    modes: Annotated[list[NetworkMode], Field(min_length=1, max_length=len(NetworkMode))]
    subnets: Subnets
    has_fixed_ips: bool = False
    pods_max: Annotated[int, Field(ge=1, le=PODS_MAX)]  # per node
    by: Name


class ClusterDisableRequest(Request):
    type: Literal["berth.v1.cluster_disable_request"] = "berth.v1.cluster_disable_request"
    ends_retained: bool = False  # the addresses of pods that are away may go
    by: Name


class ClusterStatusRequest(Request):
    type: Literal["berth.v1.cluster_status_request"] = "berth.v1.cluster_status_request"


class ClusterStatus(Message):
    """The record as it is journaled; `notes` tell what a person should know beside it."""

    type: Literal["berth.v1.cluster_status"] = "berth.v1.cluster_status"
    cluster: Cluster | None  # None: never enabled
    notes: tuple[Annotated[str, Field(max_length=DETAIL_CHARACTERS_MAX)], ...] = ()


class SubnetRequest(Request):
    subnet: Name
    by: Name


class SubnetAddRequest(SubnetRequest):
    type: Literal["berth.v1.subnet_add_request"] = "berth.v1.subnet_add_request"
    reclaims_under_pressure: bool = False


class SubnetSetRequest(SubnetRequest):
    """Cordon, drain, open again; switch an option. What is None stays as it is."""

    type: Literal["berth.v1.subnet_set_request"] = "berth.v1.subnet_set_request"
    state: SubnetState | None = None
    reclaims_under_pressure: bool | None = None


class SubnetRemoveRequest(SubnetRequest):
    type: Literal["berth.v1.subnet_remove_request"] = "berth.v1.subnet_remove_request"


class SubnetInspectRequest(Request):
    type: Literal["berth.v1.subnet_inspect_request"] = "berth.v1.subnet_inspect_request"
    subnets: Annotated[list[Name], Field(max_length=BATCH_MAX)]
    finds_uses_of: Annotated[tuple[Name, ...], Field(max_length=BATCH_MAX)] = ()
    """Of these, who has each used address: a call for every hundred."""


class SubnetFacts(Message):
    """One subnet as the cloud shows it."""

    subnet: Name
    vpc: Name
    zone: Name
    cidr: IPv4Network
    free: Count
    total: Count
    enis: Count  # ours in it, those that are being made included
    addresses: Count  # on them, their primary ones included
    foreign: Annotated[tuple[ForeignUse, ...], Field(max_length=USES_SHOWN_MAX)] = ()
    foreign_count: Count = 0


class SubnetsInspected(Message):
    """Those that exist among the named ones, and how much of ours there is in all."""

    type: Literal["berth.v1.subnets_inspected"] = "berth.v1.subnets_inspected"
    revision: Count  # of the cluster's record that the answering replica acts on; 0: none
    subnets: list[SubnetFacts]
    enis: Count  # of this cluster at the cloud, wherever they are
    waits_for: str | None = None  # why the last ones do not go, where something is in the way


CLUSTER_ENABLE: Final = Endpoint(
    name="cluster.enable",
    server=ServiceName.ALLOCATOR,
    request=ClusterEnableRequest,
    outcome=ClusterStatus,
    idempotency_key="modes, subnets, has_fixed_ips, pods_max",
    on_timeout="maybe begun: ask again with the same words",
    timeout_s=5.0,
)
CLUSTER_DISABLE: Final = Endpoint(
    name="cluster.disable",
    server=ServiceName.ALLOCATOR,
    request=ClusterDisableRequest,
    outcome=ClusterStatus,
    idempotency_key="ends_retained",
    on_timeout="maybe begun: ask again with the same words",
    timeout_s=10.0,
)
CLUSTER_STATUS: Final = Endpoint(
    name="cluster.status",
    server=ServiceName.ALLOCATOR,
    request=ClusterStatusRequest,
    outcome=ClusterStatus,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=5.0,
)
SUBNET_ADD: Final = Endpoint(
    name="subnet.add",
    server=ServiceName.ALLOCATOR,
    request=SubnetAddRequest,
    outcome=ClusterStatus,
    idempotency_key="subnet",
    on_timeout="maybe added: ask again with the same words",
    timeout_s=60.0,
)
SUBNET_SET: Final = Endpoint(
    name="subnet.set",
    server=ServiceName.ALLOCATOR,
    request=SubnetSetRequest,
    outcome=ClusterStatus,
    idempotency_key="subnet, state, reclaims_under_pressure",
    on_timeout="maybe set: ask again with the same words",
    timeout_s=5.0,
)
SUBNET_REMOVE: Final = Endpoint(
    name="subnet.remove",
    server=ServiceName.ALLOCATOR,
    request=SubnetRemoveRequest,
    outcome=ClusterStatus,
    idempotency_key="subnet",
    on_timeout="maybe removed: ask again; one that is gone is removed already",
    timeout_s=30.0,
)
SUBNET_INSPECT: Final = Endpoint(
    name="subnet.inspect",
    server=ServiceName.ENI_MANAGER,
    request=SubnetInspectRequest,
    outcome=SubnetsInspected,
    idempotency_key="none: it reads",
    on_timeout="ask again: a look under way is shared, not begun anew",
    timeout_s=20.0,
)
