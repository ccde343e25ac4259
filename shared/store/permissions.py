"""Who may touch what in the store: one ACL line per role, as Redis and Valkey read them (pure).

The allocator writes ``lease:*``; the eni_manager writes ``eni:*`` and reads ``lease:*``. Nobody
else gets in: the default user is off. Commands are listed, not subtracted, so that a newer
server's commands are not allowed by accident. Read-only key patterns and rules for subcommands
need Redis 7 or Valkey; an older server refuses the lines.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final

from shared.ids import ClusterName
from shared.store.keys import eni_key, lease_key


class StoreUser(StrEnum):
    """The users of the store, by the service that connects as them."""

    ALLOCATOR = "allocator"
    ENI_MANAGER = "eni_manager"


# What connecting and running scripts takes. TIME and INFO are the scripts' own: the server's
# clock, and its run_id against which every step is checked.
_BASE: Final = (
    "auth hello ping select quit client|setname client|id cluster|slots"
    " eval evalsha evalsha_ro eval_ro script|load script|exists time info multi exec discard"
    " unwatch watch"
)

# Data commands by type, none of them keyspace-wide (KEYS, SCAN, FLUSH…, RANDOMKEY, SWAPDB).
_READ: Final = (
    "get mget exists ttl pttl type strlen hget hmget hgetall hexists hlen hkeys hvals hscan"
    " hstrlen smembers sismember smismember scard sscan zscore zmscore zrange zrangebyscore"
    " zrevrange zcard zcount zrank zscan llen lrange lindex memory|usage"
)
_WRITE: Final = (
    "set setex psetex setnx getdel getex incr incrby decr decrby del unlink expire pexpire"
    " pexpireat persist hset hsetnx hdel hincrby sadd srem spop smove zadd zrem zincrby"
    " zremrangebyscore zpopmin lpush rpush lpop rpop lrem ltrim"
)

# The allocator refuses a store that may lose an acknowledged write: it reads how it is kept.
_OWN: Final = {StoreUser.ALLOCATOR: "config|get"}


class ReplicationUser(StrEnum):
    """The users of the servers among themselves; neither reads a lease."""

    SENTINEL = "sentinel"  # watches a server, and tells it whom to follow
    REPLICA = "replica"  # copies from the master


_REPLICATION: Final = {
    ReplicationUser.SENTINEL: (
        "multi exec discard ping info role slaveof replicaof subscribe publish config|rewrite"
        " client|setname client|kill script|kill"
    ),
    ReplicationUser.REPLICA: "psync replconf ping",
}
_HELLO_CHANNEL: Final = "__sentinel__:hello"  # where sentinels tell of themselves

# What a service asks a sentinel, and what connecting takes.
_ASKS_SENTINEL: Final = (
    "auth hello ping client|setname sentinel|masters sentinel|get-master-addr-by-name"
)

# What sentinels say to each other: whom they see down, whom they vote for.
_IS_SENTINEL: Final = (
    "auth hello ping client|setname sentinel|is-master-down-by-addr publish subscribe"
)


def replication_acl_lines(passwords: dict[ReplicationUser, str]) -> list[str]:
    """Lines that a server's ACL file needs beside `acl_lines` when sentinels watch over it."""
    return [
        _line(user, password, f"resetchannels &{_HELLO_CHANNEL}", f"auth {_REPLICATION[user]}")
        for user, password in passwords.items()
    ]


def sentinel_acl_lines(services: dict[str, str], peers: tuple[str, str]) -> list[str]:
    """The ACL file of a sentinel: a service may ask where the master is, and nothing else.

    `services`: passwords by user; `peers`: user and password of the other sentinels.
    """
    return [
        "user default off nopass nocommands",
        *(
            _line(user, password, "resetchannels", _ASKS_SENTINEL)
            for user, password in services.items()
        ),
        _line(*peers, f"resetchannels &{_HELLO_CHANNEL}", _IS_SENTINEL),
    ]


def acl_lines(cluster: ClusterName, passwords: dict[StoreUser, str]) -> list[str]:
    """``user …`` lines of the server's ACL file. Passwords go in as hashes only."""
    return [
        "user default off nopass nocommands",
        *(_acl_line(user, cluster, password) for user, password in passwords.items()),
    ]


def _acl_line(user: StoreUser, cluster: ClusterName, password: str) -> str:
    keys = " ".join(_key_patterns(user, cluster))
    names = f"{_BASE} {_READ} {_WRITE} {_OWN.get(user, '')}"
    return _line(user, password, f"resetchannels {keys}", names)


def _line(user: str, password: str, reach: str, names: str) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    commands = " ".join(f"+{name}" for name in names.split())
    return f"user {user} on #{digest} {reach} -@all {commands}"


def _key_patterns(user: StoreUser, cluster: ClusterName) -> tuple[str, ...]:
    lease, eni = _glob(lease_key(cluster, "")), _glob(eni_key(cluster, ""))
    if user is StoreUser.ALLOCATOR:
        return (f"~{lease}",)
    return (f"~{eni}", f"%R~{lease}")


def _glob(prefix: str) -> str:
    # The braces of the hash tag mean nothing in Redis' patterns; a cluster's token holds
    # letters, digits, "_", "-" and "%", none of which is a wildcard.
    return f"{prefix}*"
