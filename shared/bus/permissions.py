"""Who may speak: what each key may publish and subscribe, as nats-server reads it (pure).

Derived from the list of subjects: a role serves the endpoints of its service in that service's
queue group, calls the endpoints that `CALLERS` gives it, and hears nothing but replies to
itself. Answers are allowed per request (``allow_responses``), never by subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from shared.bus.connection import inbox_prefix
from shared.bus.roles import Role, client_name
from shared.ids import ClusterName, NodeName, encode_token
from shared.messages.base import Endpoint, ServiceName, subject_root
from shared.messages.capacities import CAPACITY_SET, CAPACITY_SHOW
from shared.messages.cluster_life import (
    CLUSTER_DISABLE,
    CLUSTER_ENABLE,
    CLUSTER_STATUS,
    SUBNET_ADD,
    SUBNET_INSPECT,
    SUBNET_REMOVE,
    SUBNET_SET,
)
from shared.messages.clusters import (
    NODE_INSTANCE,
    NODE_LIST,
    NODE_LOOK,
    SUBNET_LIST,
    UNCLAIMED_LIST,
)
from shared.messages.departures import NODE_GONE, NODE_LEAVE
from shared.messages.events import EVENT_STREAM
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
from shared.messages.moves import ADDRESS_MOVE, ADDRESS_PARK, ADDRESS_RECLAIM
from shared.messages.nodes import (
    AGENT_INVENTORY,
    AGENT_MEND,
    NODE_REGISTER,
    NODE_WANT,
    STOCK_OFFER,
    STOCK_RECALL,
)
from shared.messages.recovery import (
    LEASE_BACKUP,
    LEASE_RESTORE,
    RECOVER,
    RECOVERY_STATUS,
    RECOVERY_TRIAL,
)
from shared.messages.subjects import ENDPOINTS, journal_root, journal_stream
from shared.messages.subnet_uses import SUBNET_USES
from shared.messages.vacancies import VACANCIES

_AGENT: Final = frozenset({Role.NODE_AGENT})
_OPERATOR: Final = frozenset({Role.OPERATOR})
_READERS: Final = frozenset({Role.OPERATOR, Role.OBSERVER})
_ENI_MANAGER: Final = frozenset({Role.ENI_MANAGER})

CALLERS: Final[dict[str, frozenset[Role]]] = {
    NODE_REGISTER.name: _AGENT,
    NODE_WANT.name: _AGENT,
    LEASE_ACQUIRE.name: _AGENT,
    LEASE_RELEASE.name: _AGENT,
    LEASE_REPORT.name: _AGENT,
    LEASE_GET.name: _READERS,
    LEASE_LIST.name: _READERS,
    LEASE_FORGET.name: _OPERATOR,
    LEASE_MAKE_ROOM.name: _ENI_MANAGER,
    LEASE_POLICY.name: _OPERATOR,
    LEASE_BACKUP.name: _OPERATOR,
    LEASE_RESTORE.name: _OPERATOR,
    RECOVERY_TRIAL.name: _OPERATOR,
    RECOVER.name: _OPERATOR,
    RECOVERY_STATUS.name: _OPERATOR,
    ADDRESS_MOVE.name: frozenset({Role.ALLOCATOR}),
    ADDRESS_PARK.name: frozenset({Role.ALLOCATOR}),
    ADDRESS_RECLAIM.name: frozenset({Role.ALLOCATOR}),
    NODE_INSTANCE.name: frozenset({Role.ALLOCATOR}),
    NODE_LIST.name: _READERS,
    NODE_LOOK.name: _OPERATOR,
    UNCLAIMED_LIST.name: _OPERATOR,
    NODE_GONE.name: frozenset({Role.ENI_MANAGER, Role.OPERATOR}),
    NODE_LEAVE.name: frozenset({Role.ALLOCATOR}),
    VACANCIES.name: frozenset({Role.ALLOCATOR}),
    SUBNET_LIST.name: _READERS | {Role.ALLOCATOR},
    CAPACITY_SET.name: _OPERATOR,
    CAPACITY_SHOW.name: _READERS,
    CLUSTER_ENABLE.name: _OPERATOR,
    CLUSTER_DISABLE.name: _OPERATOR,
    CLUSTER_STATUS.name: _READERS,
    SUBNET_ADD.name: _OPERATOR,
    SUBNET_SET.name: _OPERATOR,
    SUBNET_REMOVE.name: _OPERATOR,
    SUBNET_INSPECT.name: frozenset({Role.ALLOCATOR}),
    SUBNET_USES.name: _OPERATOR,
    STOCK_OFFER.name: _ENI_MANAGER,
    STOCK_RECALL.name: _ENI_MANAGER,
    AGENT_INVENTORY.name: frozenset({Role.ALLOCATOR, Role.ENI_MANAGER, Role.OPERATOR}),
    AGENT_MEND.name: _OPERATOR,
}

EVENT_NOUNS: Final[dict[Role, tuple[str, ...]]] = {
    Role.ALLOCATOR: ("lease", "node", "subnet", "cluster"),
    Role.ENI_MANAGER: ("address", "eni", "node", "subnet"),
}

_SERVER_OF: Final = {
    Role.ALLOCATOR: ServiceName.ALLOCATOR,
    Role.ENI_MANAGER: ServiceName.ENI_MANAGER,
}

# One answer per request; longer than any request's deadline may be.
ANSWERS_MAX: Final = 1
ANSWER_SPAN_S: Final = 120

# Where servers ask who a client without a key of its own is (nats-server's auth callout).
CALLOUT_SUBJECT: Final = "$SYS.REQ.USER.AUTH"
# The allocators ask the API server before they answer (a server's own default is 2 s); less
# than a client waits for its connection, so that it hears that it was refused.
_CALLOUT_TIMEOUT_S: Final = 4

# An observer has one durable consumer, of the events of its own cluster, with its role's name:
# it cannot take messages out of anybody else's.
_CONSUMER_CALLS: Final = ("INFO.{}.{}", "DELETE.{}.{}", "MSG.NEXT.{}.{}")

# What is done to one stream. Deleting and purging it is left out: no service ever does.
_STREAM_CALLS: Final = (
    "STREAM.CREATE.{}",
    "STREAM.UPDATE.{}",
    "STREAM.INFO.{}",
    "STREAM.MSG.GET.{}",
    "DIRECT.GET.{}",
    "DIRECT.GET.{}.>",
    "CONSUMER.CREATE.{}",
    "CONSUMER.CREATE.{}.>",
    "CONSUMER.DURABLE.CREATE.{}.*",
    "CONSUMER.INFO.{}.*",
    "CONSUMER.DELETE.{}.*",
    "CONSUMER.MSG.NEXT.{}.*",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BusPermissions:
    """What one key may do. ``publish`` holds subjects, ``subscribe`` subjects or, with a
    space and a queue group behind, subjects that may be taken in that group only."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def to_config(self) -> dict[str, object]:
        """One user's ``permissions`` of nats-server's configuration."""
        return {
            "publish": {"allow": list(self.publish)},
            "subscribe": {"allow": list(self.subscribe)},
            "allow_responses": {"max": ANSWERS_MAX, "expires": f"{ANSWER_SPAN_S}s"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BusUser:
    """A public key (U…) and what it is for."""

    public_key: str
    role: Role
    node: NodeName | None = None


def bus_permissions(
    role: Role, cluster: ClusterName, node: NodeName | None = None
) -> BusPermissions:
    """What a key of this role may do in this cluster; an agent's, for its one node."""
    assert (node is not None) == (role is Role.NODE_AGENT), f"{role} and node {node!r}"
    inbox = f"{inbox_prefix(client_name(role, node))}.>"
    if node is not None:
        root, token = subject_root(cluster), encode_token(node)
        return BusPermissions(
            publish=(f"{root}.node.{token}.>",),
            subscribe=(inbox, f"{root}.agent.{token}.>"),
        )
    publish = [e.pattern(cluster) for e in ENDPOINTS if role in CALLERS[e.name]]
    if role is Role.OPERATOR:
        return BusPermissions(publish=(*publish, "$SRV.>"), subscribe=(inbox,))
    if role is Role.OBSERVER:
        return BusPermissions(publish=(*publish, *_consumer(cluster)), subscribe=(inbox,))
    publish += [f"{subject_root(cluster)}.event.{noun}.>" for noun in EVENT_NOUNS.get(role, ())]
    publish += _jetstream(role, cluster)
    subscribe = [inbox, *_served(_SERVER_OF[role], cluster)]
    if role is Role.ALLOCATOR:
        subscribe.append(f"{CALLOUT_SUBJECT} {role}")
    return BusPermissions(publish=tuple(publish), subscribe=tuple(subscribe))


def authorization(
    users: Iterable[BusUser], cluster: ClusterName, *, callout_issuer: str | None = None
) -> dict[str, object]:
    """The ``authorization`` block of nats-server: without a key in it nobody gets in.

    `callout_issuer`: the public key (A…) of the account in whose name the allocators admit
    clients that are not among `users`, which are the node agents of a cluster.
    """
    known = list(users)
    rules: dict[str, object] = {
        "users": [
            {
                "nkey": user.public_key,
                "permissions": bus_permissions(user.role, cluster, user.node).to_config(),
            }
            for user in known
        ]
    }
    if callout_issuer is not None:
        rules["timeout"] = _CALLOUT_TIMEOUT_S
        rules["auth_callout"] = {
            "issuer": callout_issuer,
            "auth_users": [user.public_key for user in known],
        }
    return rules


def _served(server: ServiceName, cluster: ClusterName) -> list[str]:
    served: list[Endpoint[Any, Any]] = [e for e in ENDPOINTS if e.server is server]
    name = f"berth-{server}".replace("_", "-")
    return [
        *(f"{endpoint.pattern(cluster)} {server}" for endpoint in served),
        "$SRV.*",
        f"$SRV.*.{name}",
        f"$SRV.*.{name}.*",
    ]


def _consumer(cluster: ClusterName) -> list[str]:
    name = client_name(Role.OBSERVER)
    calls = [call.format(EVENT_STREAM, name) for call in _CONSUMER_CALLS]
    events = f"{subject_root(cluster)}.event.>"  # the server compares it with the filter asked
    return [
        f"$JS.API.CONSUMER.CREATE.{EVENT_STREAM}.{name}.{events}",
        *(f"$JS.API.CONSUMER.{call}" for call in calls),
        f"$JS.ACK.{EVENT_STREAM}.{name}.>",
    ]


def _jetstream(role: Role, cluster: ClusterName) -> list[str]:
    if role is Role.ENI_MANAGER:
        calls = [f"STREAM.{verb}.{EVENT_STREAM}" for verb in ("CREATE", "INFO")]
        return [f"$JS.API.{call}" for call in calls]
    journal = journal_stream(cluster)
    calls = [
        call.format(stream) for stream in (journal, EVENT_STREAM) for call in _STREAM_CALLS
    ]
    return [
        f"{journal_root(cluster)}.>",
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        *(f"$JS.API.{call}" for call in calls),
        f"$JS.ACK.{journal}.>",
        f"$JS.ACK.{EVENT_STREAM}.>",
        f"$JS.FC.{journal}.>",
    ]
