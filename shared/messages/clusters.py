"""``node.list`` and ``subnet.list``: what the eni_manager knows of nodes, ENIs and subnets."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from shared.clusters import SubnetState

from .base import BATCH_MAX, Endpoint, Message, Name, Request, ServiceName
from .cluster_life import USES_SHOWN_MAX, ForeignUse

NODES_MAX: Final = 64  # of one page: a node may hold several hundred addresses


class HeldBack(Message):
    """An address that is the eni_manager's own: on its way in or out, or in doubt."""

    address: IPv4Address
    hold: Name  # assigning, unassigning, reclaimed or quarantined
    reason: str | None = None


class EniView(Message):
    """One ENI with the addresses it carries."""

    eni: Name
    subnet: Name
    mac: str
    state: str
    primary_address: IPv4Address
    addresses: list[IPv4Address]
    addresses_max: int  # secondary addresses that fit
    held_back: tuple[HeldBack, ...] = ()  # those of `addresses` that nobody else has


class NodeView(Message):
    """One node as the eni_manager sees it."""

    node: Name
    instance: Name
    zone: str | None
    enis: list[EniView]
    enis_max: int | None  # secondary ENIs that fit
    problem: str | None  # why it cannot get (more) addresses, if so
    warning: str | None = None  # what is not as the cluster was enabled, while it is served
    heard_at: AwareDatetime


class SubnetView(Message):
    subnet: Name
    zone: Name
    cidr: IPv4Network
    free: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]
    state: SubnetState = SubnetState.OPEN
    reclaims_under_pressure: bool = False
    enis: Annotated[int, Field(ge=0)] = 0  # ours
    addresses: Annotated[int, Field(ge=0)] = 0  # on them, their primary ones included
    foreign: Annotated[tuple[ForeignUse, ...], Field(max_length=USES_SHOWN_MAX)] = ()
    foreign_count: Annotated[int, Field(ge=0)] = 0


class InstanceCondition(StrEnum):
    """As much of a machine's state as matters to who may still use an address on it."""

    RUNNING = "running"  # or on its way: something may run there
    STOPPED = "stopped"
    GONE = "gone"


class NodeInstanceRequest(Request):
    """Whether anything can still run on a node, by the cloud's word now."""

    type: Literal["berth.v1.node_instance_request"] = "berth.v1.node_instance_request"
    node: Name


class NodeInstance(Message):
    type: Literal["berth.v1.node_instance"] = "berth.v1.node_instance"
    instance: Name
    condition: InstanceCondition


class NodeListRequest(Request):
    """A page of nodes in the order of their names: all at once would be too large a message."""

    type: Literal["berth.v1.node_list_request"] = "berth.v1.node_list_request"
    node: Name | None = None  # this one alone
    after: Name | None = None  # those that come after it
    limit: Annotated[int, Field(ge=1, le=NODES_MAX)] | None = None  # none: all, if they fit


class NodesListed(Message):
    type: Literal["berth.v1.nodes_listed"] = "berth.v1.nodes_listed"
    nodes: list[NodeView]
    is_last: bool = True  # no node comes after these


class NodeLookRequest(Request):
    """Compare this node with the cloud now, and mend what differs."""

    type: Literal["berth.v1.node_look_request"] = "berth.v1.node_look_request"
    node: Name


class NodeLooked(Message):
    """Heard: the owner of the node's shard looks in its next round, which begins now."""

    type: Literal["berth.v1.node_looked"] = "berth.v1.node_looked"
    node: Name


class SubnetListRequest(Request):
    type: Literal["berth.v1.subnet_list_request"] = "berth.v1.subnet_list_request"


class SubnetsListed(Message):
    type: Literal["berth.v1.subnets_listed"] = "berth.v1.subnets_listed"
    subnets: list[SubnetView]


NODE_LIST: Final = Endpoint(
    name="cluster.nodes",
    server=ServiceName.ENI_MANAGER,
    request=NodeListRequest,
    outcome=NodesListed,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=5.0,
)
NODE_LOOK: Final = Endpoint(
    name="cluster.look",
    server=ServiceName.ENI_MANAGER,
    request=NodeLookRequest,
    outcome=NodeLooked,
    idempotency_key="none: it looks again",
    on_timeout="ask again",
    timeout_s=5.0,
)


class UnclaimedListRequest(Request):
    """ENIs at the cloud that no book has, as of the last looks."""

    type: Literal["berth.v1.unclaimed_list_request"] = "berth.v1.unclaimed_list_request"


class UnclaimedView(Message):
    """One of them: why it is in no book, and where it is."""

    eni: Name
    found: Name  # stranger, stray or orphan
    subnet: Name
    primary_address: IPv4Address
    instance: Name | None
    node: Name | None
    tags: Annotated[tuple[str, ...], Field(max_length=BATCH_MAX)]


class UnclaimedListed(Message):
    type: Literal["berth.v1.unclaimed_listed"] = "berth.v1.unclaimed_listed"
    enis: Annotated[tuple[UnclaimedView, ...], Field(max_length=BATCH_MAX)]
    count: Annotated[int, Field(ge=0)]  # of all, shown or not


UNCLAIMED_LIST: Final = Endpoint(
    name="cluster.unclaimed",
    server=ServiceName.ENI_MANAGER,
    request=UnclaimedListRequest,
    outcome=UnclaimedListed,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=5.0,
)
SUBNET_LIST: Final = Endpoint(
    name="subnet.list",
    server=ServiceName.ENI_MANAGER,
    request=SubnetListRequest,
    outcome=SubnetsListed,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=5.0,
)
NODE_INSTANCE: Final = Endpoint(
    name="cluster.instance",
    server=ServiceName.ENI_MANAGER,
    request=NodeInstanceRequest,
    outcome=NodeInstance,
    idempotency_key="none: it reads",
    on_timeout="nothing is proven: ask again later",
    timeout_s=3.0,
)
