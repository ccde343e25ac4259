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
    "auth hello ping select quit client|setinfo client|setname client|id"
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


def acl_lines(cluster: ClusterName, passwords: dict[StoreUser, str]) -> list[str]:
    """``user …`` lines of the server's ACL file. Passwords go in as hashes only."""
    return [
        "user default off nopass nocommands",
        *(_acl_line(user, cluster, password) for user, password in passwords.items()),
    ]


def _acl_line(user: StoreUser, cluster: ClusterName, password: str) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    names = f"{_BASE} {_READ} {_WRITE} {_OWN.get(user, '')}".split()
    commands = " ".join(f"+{name}" for name in names)
    keys = " ".join(_key_patterns(user, cluster))
    return f"user {user} on #{digest} resetchannels {keys} -@all {commands}"


def _key_patterns(user: StoreUser, cluster: ClusterName) -> tuple[str, ...]:
    lease, eni = _glob(lease_key(cluster, "")), _glob(eni_key(cluster, ""))
    if user is StoreUser.ALLOCATOR:
        return (f"~{lease}",)
    return (f"~{eni}", f"%R~{lease}")


def _glob(prefix: str) -> str:
    # The braces of the hash tag mean nothing in Redis' patterns; a cluster's token holds
    # letters, digits, "_", "-" and "%", none of which is a wildcard.
    return f"{prefix}*"
