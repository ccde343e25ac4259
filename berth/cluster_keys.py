"""Keys, passwords and configurations of a cluster's bus and store, made before it is installed.

Everything that a server or a service must be told and may not be told in a manifest is here, as
folders of files: one for each Secret. The certificate authority's own key is kept nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from typing import Any, Final

from berth.seeds import new_account_seed, new_password, new_user_seed, public_key
from services.allocator.kubernetes.certificates import (
    AUTHORITY_LIFE,
    KeyPair,
    new_authority,
    new_serving_pair,
)
from shared.bus.permissions import BusUser, authorization
from shared.bus.roles import Role
from shared.errors import InvalidInput
from shared.ids import ClusterName, NodeName, encode_token
from shared.store.permissions import (
    ReplicationUser,
    StoreUser,
    acl_lines,
    replication_acl_lines,
    sentinel_acl_lines,
)

BUS_PORT: Final = 4222
ROUTES_PORT: Final = 6222
MONITOR_PORT: Final = 8222
STORE_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
SERVICE: Final = "berth"  # what the sentinels call the master
HOSTS_ALLOWED: Final = (1, 3, 5)

_PEER: Final = "peer"  # the sentinels to each other
_ASKS: Final = "store"  # a server that starts, to the sentinels
_PAYLOAD_BYTES_MAX: Final = 1 << 20
_CONNECTIONS_MAX: Final = 65_536
_JOURNAL_BYTES_MAX: Final = 8 << 30
_DOWN_MS: Final = 5_000
_FAILOVER_MS: Final = 20_000

Files = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """`agents`: nodes whose agents get keys of their own: no API server vouches for them."""

    cluster: ClusterName
    hosts: tuple[IPv4Address, ...]  # of bus and store; the first store begins as the master
    region: str
    agents: tuple[NodeName, ...] = ()
    keys_folder: str = "/keys"  # where a server finds its files

    def __post_init__(self) -> None:
        if len(self.hosts) not in HOSTS_ALLOWED or len(set(self.hosts)) != len(self.hosts):
            shown = ", ".join(map(str, self.hosts)) or "none"
            raise InvalidInput.of("node", shown, "1, 3 or 5 different addresses")

    @property
    def quorum(self) -> int:
        return len(self.hosts) // 2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterKeys:
    settings: Files  # the environment of every service
    authority: str  # whom clients of the bus trust; PEM
    secrets: dict[str, Files]


def make_cluster_keys(plan: ClusterPlan, now: datetime) -> ClusterKeys:
    """New ones each time: what was made before opens nothing any more."""
    authority = new_authority("berth bus authority", now)
    seeds = {role: new_user_seed() for role in Role if role is not Role.NODE_AGENT}
    agents = {node: new_user_seed() for node in plan.agents}
    account = new_account_seed()
    users = [BusUser(public_key=public_key(seed), role=role) for role, seed in seeds.items()]
    users += [
        BusUser(public_key=public_key(seed), role=Role.NODE_AGENT, node=node)
        for node, seed in agents.items()
    ]
    passwords = {user: new_password() for user in StoreUser}
    secrets = {
        "berth-bus": _bus(plan, users, public_key(account), authority, now),
        "berth-store": _store(plan, passwords),
        "berth-allocator": {
            "bus.nk": seeds[Role.ALLOCATOR],
            "callout.nk": account,
            "store.password": passwords[StoreUser.ALLOCATOR],
        },
        "berth-eni-manager": {
            "bus.nk": seeds[Role.ENI_MANAGER],
            "store.password": passwords[StoreUser.ENI_MANAGER],
        },
        "berth-operator": {"bus.nk": seeds[Role.OPERATOR]},
    }
    for node, seed in agents.items():
        secrets[f"berth-agent-{encode_token(node)}"] = {"bus.nk": seed}
    return ClusterKeys(
        settings=_settings(plan), authority=authority.certificate.decode(), secrets=secrets
    )


def _settings(plan: ClusterPlan) -> Files:
    buses = ",".join(f"tls://{host}:{BUS_PORT}" for host in plan.hosts)
    sentinels = ",".join(f"{host}:{SENTINEL_PORT}" for host in plan.hosts)
    return {
        "BERTH_CLUSTER": plan.cluster,
        "BERTH_NATS_URL": buses,
        "BERTH_ALLOCATOR_REDIS_URL": f"redis+sentinel://allocator@{sentinels}/{SERVICE}",
        "BERTH_ALLOCATOR_JOURNAL_REPLICAS": str(len(plan.hosts)),
        "BERTH_ENI_MANAGER_REDIS_URL": f"redis+sentinel://eni_manager@{sentinels}/{SERVICE}",
        "BERTH_ENI_MANAGER_CLOUD_REGION": plan.region,
    }


def _bus(
    plan: ClusterPlan, users: list[BusUser], issuer: str, authority: KeyPair, now: datetime
) -> Files:
    pair = new_serving_pair(
        authority,
        ["berth-bus"],
        now,
        addresses=plan.hosts,
        life=AUTHORITY_LIFE,
        is_peer=True,
    )
    folder = plan.keys_folder
    tls = {
        "cert_file": f"{folder}/tls.crt",
        "key_file": f"{folder}/tls.key",
        "ca_file": f"{folder}/ca.crt",
        "timeout": 5,
    }
    # nats-server reads JSON as its own format. Name, address and data folder are arguments.
    configuration: dict[str, Any] = {
        "port": BUS_PORT,
        "http": f"127.0.0.1:{MONITOR_PORT}",
        "jetstream": {"max_file": _JOURNAL_BYTES_MAX},
        "max_payload": _PAYLOAD_BYTES_MAX,
        "max_connections": _CONNECTIONS_MAX,
        "logtime_utc": True,
        "tls": tls,
        "authorization": authorization(users, plan.cluster, callout_issuer=issuer),
    }
    if len(plan.hosts) > 1:
        configuration["cluster"] = {
            "name": encode_token(plan.cluster),
            "port": ROUTES_PORT,
            "tls": tls | {"verify": True},
            "routes": [f"nats://{host}:{ROUTES_PORT}" for host in plan.hosts],
        }
    return {
        "nats.conf": json.dumps(configuration, indent=2) + "\n",
        "tls.crt": pair.certificate.decode(),
        "tls.key": pair.key.decode(),
        "ca.crt": authority.certificate.decode(),
    }


def _store(plan: ClusterPlan, passwords: dict[StoreUser, str]) -> Files:
    """Files of servers and sentinels; `configure.sh` of the manifests joins them."""
    inner = {user: new_password() for user in ReplicationUser}
    peer, asks = new_password(), new_password()
    asking = {user.value: password for user, password in passwords.items()} | {_ASKS: asks}
    server = {
        "port": STORE_PORT,
        "appendonly": "yes",
        "appendfsync": "always",  # an answered lease survives a power cut
        "save": '""',
        "maxmemory-policy": "noeviction",
        "masteruser": ReplicationUser.REPLICA,
        "masterauth": inner[ReplicationUser.REPLICA],
        "repl-diskless-sync-delay": 0,
    }
    watched = [
        f"sentinel auth-user {SERVICE} {ReplicationUser.SENTINEL}",
        f"sentinel auth-pass {SERVICE} {inner[ReplicationUser.SENTINEL]}",
        f"sentinel sentinel-user {_PEER}",
        f"sentinel sentinel-pass {peer}",
    ]
    monitored = [
        f"sentinel monitor {SERVICE} {plan.hosts[0]} {STORE_PORT} {plan.quorum}",
        f"sentinel down-after-milliseconds {SERVICE} {_DOWN_MS}",
        f"sentinel failover-timeout {SERVICE} {_FAILOVER_MS}",
    ]
    return {
        "hosts": " ".join(map(str, plan.hosts)) + "\n",
        "valkey.conf": "".join(f"{name} {value}\n" for name, value in server.items()),
        "users.acl": _lines(
            [*acl_lines(plan.cluster, passwords), *replication_acl_lines(inner)]
        ),
        "sentinel.acl": _lines(sentinel_acl_lines(asking, (_PEER, peer))),
        "sentinel.monitor": _lines(monitored),
        "sentinel.conf": _lines(watched),
        # Lines of an earlier sentinel.conf that the new ones take the place of.
        "sentinel.replaced": _lines(f"^{line.rpartition(' ')[0]} " for line in watched),
        "ask.password": asks,
    }


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
