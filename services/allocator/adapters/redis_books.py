"""The books of leases on Redis: their keys, how a script is run on them, and what they hold.

Keys, all below ``berth:{<cluster>}:lease:``: ``epoch``; ``fixed`` (token → record),
``addresses`` (address → token), ``unjournaled`` (token → generation), ``expiries`` (tokens by
the moment at which the reaper looks at them), ``nodes``;
``mark:<node>`` (the fence) and ``reported:<node>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.allocator.domain.leases import FencedBy, Lease, Step, unheard
from services.allocator.domain.ports import ReportedView, StepGate
from shared.errors import EpochLost, Unavailable
from shared.ids import ClusterName, Identity, NodeName, decode_token, encode_token
from shared.policies import LeasePolicy
from shared.store.keys import lease_key, lease_node_key
from shared.store.lease_records import RECORD_VERSION, StoredFormat

from .lease_codec import decode_lease, decode_lease_of
from .pipeline import ScriptPipeline

Status = TypeVar("Status", bound=StrEnum)

_GROWING: Final = frozenset(
    {"acquire", "register", "report", "put_back"}
)  # steps that make books larger


class RedisBooks:
    """One cluster's books, and the epoch that steps on them carry."""

    def __init__(
        self,
        store: Redis,
        cluster: ClusterName,
        gate: StepGate,
        *,
        stored_format: StoredFormat = RECORD_VERSION,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._gate = gate
        self._format = stored_format
        self._scripts = ScriptPipeline(store, stored_format)
        self._number: int | None = None
        self._epoch = lease_key(cluster, "epoch")
        self._fixed = lease_key(cluster, "fixed")
        self._addresses = lease_key(cluster, "addresses")
        self._unjournaled = lease_key(cluster, "unjournaled")
        self._expiries = lease_key(cluster, "expiries")
        self._nodes = lease_key(cluster, "nodes")

    def use_epoch(self, number: int | None) -> None:
        self._number = number

    async def now(self) -> datetime:
        try:
            seconds, microseconds = await self._store.time()
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    async def journaled(self, steps: Sequence[Lease]) -> None:
        pairs = [part for step in steps for part in (step.identity.token, step.generation)]
        await self._scripts.run("journaled", [self._unjournaled], pairs)

    async def unjournaled(self, limit: int) -> list[Lease]:
        try:
            cursor, tokens = 0, list[bytes | str]()
            while len(tokens) < limit:
                # A page may be empty where marks were taken off: the cursor tells the end.
                cursor, page = await self._store.hscan(self._unjournaled, cursor, count=limit)
                tokens.extend(page)
                if cursor == 0:
                    break
            bodies = await self._store.hmget(self._fixed, tokens) if tokens else []
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return [
            decode_lease(token, body)
            for token, body in zip(tokens, bodies, strict=True)
            if body is not None
        ]

    async def find(self, identity: Identity) -> Lease | None:
        try:
            body = await self._store.hget(self._fixed, identity.token)
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return decode_lease_of(identity, body) if body is not None else None

    async def leases(self, cursor: int, limit: int) -> tuple[int, list[Lease]]:
        try:
            following, page = await self._store.hscan(self._fixed, cursor, count=limit)
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        assert isinstance(page, dict), "HSCAN answers with fields and values"
        return int(following), [decode_lease(token, body) for token, body in page.items()]

    async def nodes(self) -> list[NodeName]:
        try:
            names = await self._store.smembers(self._nodes)
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return sorted(NodeName(decode_token(text_of(name))) for name in names)

    async def knows(self, node: NodeName) -> bool:
        try:
            return bool(await self._store.sismember(self._nodes, encode_token(node)))
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error

    async def reported(self, node: NodeName) -> list[ReportedView]:
        try:
            views = await self._store.hgetall(self._reported(node))
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return [
            ReportedView(address=IPv4Address(text_of(address)), body=text_of(body))
            for address, body in views.items()
        ]

    async def _step(
        self,
        name: str,
        keys: Sequence[str],
        arguments: Sequence[str | int],
        *,
        fence: FencedBy | None,
    ) -> list[Any]:
        if self._number is None:
            raise EpochLost("no epoch is open yet: recovery runs, try again")
        self._gate.check(grows=name in _GROWING)
        reply: list[Any] = await self._scripts.run(name, keys, [self._number, *arguments])
        refusal = unheard(reply[0].decode(), fence)
        if refusal is not None:
            raise refusal
        return reply

    def _mark(self, node: NodeName) -> str:
        return lease_node_key(self._cluster, "mark", node)

    def _reported(self, node: NodeName) -> str:
        return lease_node_key(self._cluster, "reported", node)


def stored_policy(policy: LeasePolicy) -> str:
    """As scripts take it: "" for the one that records leave out."""
    return "" if policy is LeasePolicy.NEVER else policy.value


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def text_of(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def read_step(kind: type[Status], identity: Identity, reply: list[Any]) -> Step[Status]:
    status, body, unjournaled = (bytes(part) for part in reply)
    is_record = body.startswith((b"[", b"{"))
    return Step(
        status=kind(status.decode()),
        lease=decode_lease_of(identity, body) if is_record else None,
        is_journaled=unjournaled == b"0",
    )
