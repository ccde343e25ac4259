"""Every subject of the bus in one list, and who may publish and subscribe to what.

requests   berth.v1.<cluster>.node.<node>.…   from an agent, its node in the subject
           berth.v1.<cluster>.{lease,address,subnet,cluster}.…   services and operators
orders     berth.v1.<cluster>.agent.<node>.…  to one agent
events     berth.v1.<cluster>.event.<noun>.<verb>      JetStream, BERTH_EVENTS
journal    berth.v1.<cluster>.journal.{epoch,cluster,lease.<identity>,commit.<writer>}
           JetStream, BERTH_JOURNAL_<cluster>
"""

from __future__ import annotations

from typing import Any, Final

from shared.ids import ClusterName, Identity, encode_token

from .base import Endpoint, ServiceName, subject_root
from .capacities import CAPACITY_SET, CAPACITY_SHOW
from .cluster_life import (
    CLUSTER_DISABLE,
    CLUSTER_ENABLE,
    CLUSTER_STATUS,
    SUBNET_ADD,
    SUBNET_INSPECT,
    SUBNET_REMOVE,
    SUBNET_SET,
)
from .clusters import NODE_INSTANCE, NODE_LIST, NODE_LOOK, SUBNET_LIST, UNCLAIMED_LIST
from .departures import NODE_GONE, NODE_LEAVE
from .leases import (
    LEASE_ACQUIRE,
    LEASE_FORGET,
    LEASE_GET,
    LEASE_LIST,
    LEASE_MAKE_ROOM,
    LEASE_POLICY,
    LEASE_RELEASE,
    LEASE_REPORT,
)
from .moves import ADDRESS_MOVE, ADDRESS_PARK, ADDRESS_RECLAIM
from .nodes import (
    AGENT_INVENTORY,
    AGENT_MEND,
    NODE_REGISTER,
    NODE_WANT,
    STOCK_OFFER,
    STOCK_RECALL,
)
from .recovery import LEASE_BACKUP, LEASE_RESTORE, RECOVER, RECOVERY_STATUS, RECOVERY_TRIAL
from .subnet_uses import SUBNET_USES
from .vacancies import VACANCIES

ENDPOINTS: Final[tuple[Endpoint[Any, Any], ...]] = (
    NODE_REGISTER,
    NODE_WANT,
    LEASE_ACQUIRE,
    LEASE_RELEASE,
    LEASE_REPORT,
    LEASE_GET,
    LEASE_LIST,
    LEASE_MAKE_ROOM,
    LEASE_FORGET,
    LEASE_POLICY,
    LEASE_BACKUP,
    LEASE_RESTORE,
    RECOVERY_TRIAL,
    RECOVER,
    RECOVERY_STATUS,
    ADDRESS_MOVE,
    ADDRESS_PARK,
    ADDRESS_RECLAIM,
    NODE_INSTANCE,
    NODE_LIST,
    NODE_LOOK,
    UNCLAIMED_LIST,
    NODE_GONE,
    NODE_LEAVE,
    VACANCIES,
    SUBNET_LIST,
    CAPACITY_SET,
    CAPACITY_SHOW,
    CLUSTER_ENABLE,
    CLUSTER_DISABLE,
    CLUSTER_STATUS,
    SUBNET_ADD,
    SUBNET_SET,
    SUBNET_REMOVE,
    SUBNET_INSPECT,
    SUBNET_USES,
    STOCK_OFFER,
    STOCK_RECALL,
    AGENT_INVENTORY,
    AGENT_MEND,
)


def endpoints_of(server: ServiceName) -> tuple[Endpoint[Any, Any], ...]:
    return tuple(endpoint for endpoint in ENDPOINTS if endpoint.server is server)


EVENT_PATTERN: Final = "berth.v1.*.event.>"  # one stream holds every cluster's events


def journal_stream(cluster: ClusterName) -> str:
    return f"BERTH_JOURNAL_{encode_token(cluster).replace('%', '_')}"


def journal_root(cluster: ClusterName) -> str:
    return f"{subject_root(cluster)}.journal"


def journal_epoch_subject(cluster: ClusterName) -> str:
    return f"{journal_root(cluster)}.epoch"


def journal_cluster_subject(cluster: ClusterName) -> str:
    return f"{journal_root(cluster)}.cluster"


def journal_lease_subject(cluster: ClusterName, identity: Identity) -> str:
    return f"{journal_root(cluster)}.lease.{identity.token}"


def journal_commit_subject(cluster: ClusterName, writer: str) -> str:
    """Where one writer ends its batches; "*" for those of all."""
    return f"{journal_root(cluster)}.commit.{writer}"


def journal_page_subject(cluster: ClusterName, writer: str, number: str) -> str:
    """Steps of one writer on their way to their leases' subjects; "*" for those of all."""
    return f"{journal_root(cluster)}.page.{writer}.{number}"
