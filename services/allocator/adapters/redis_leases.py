"""Implements LeaseStore and EpochStore on Redis: one script a step, one flush for many steps.

Keys, all below ``berth:{<cluster>}:lease:``: ``epoch``; ``fixed`` (token → record),
``addresses`` (address → token), ``unjournaled`` (token → generation), ``expiries`` (tokens by
the moment at which the reaper looks at them), ``nodes``;
``mark:<node>`` (the fence) and ``reported:<node>``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.allocator.domain.leases import (
    AcquireStatus,
    ArriveStatus,
    Claim,
    ExpireStatus,
    FencedBy,
    ForgetStatus,
    GiveUpStatus,
    Lease,
    PolicyStatus,
    RetainStatus,
    Step,
    unheard,
)
from services.allocator.domain.ports import ReportedView, StoreEpoch
from shared.errors import EpochLost, Refused, Unavailable
from shared.ids import (
    GENERATION_BITS,
    ClusterName,
    EniId,
    Generation,
    Identity,
    Incarnation,
    NodeName,
    decode_token,
    encode_token,
)
from shared.store.keys import lease_key, lease_node_key

from .lease_codec import decode_lease, encode_lease
from .pipeline import ScriptPipeline

_RESTORE_MAX: Final = 500

Status = TypeVar("Status", bound=StrEnum)


class RedisLeases:
    """The leases of one cluster."""

    def __init__(self, store: Redis, cluster: ClusterName) -> None:
        self._store = store
        self._cluster = cluster
        self._scripts = ScriptPipeline(store)
        self._number: int | None = None
        self._epoch = lease_key(cluster, "epoch")
        self._fixed = lease_key(cluster, "fixed")
        self._addresses = lease_key(cluster, "addresses")
        self._unjournaled = lease_key(cluster, "unjournaled")
        self._expiries = lease_key(cluster, "expiries")
        self._nodes = lease_key(cluster, "nodes")

    async def register(self, node: NodeName, *, last: Incarnation, nonce: str) -> Incarnation:
        reply = await self._step(
            "register",
            [self._epoch, self._mark(node), self._nodes],
            [encode_token(node), last, nonce],
            fence=None,
        )
        return Incarnation(int(reply[1]))

    async def acquire(self, claim: Claim) -> Step[AcquireStatus]:
        candidate = claim.candidate
        expires = claim.expires_after
        reply = await self._step(
            "acquire",
            [
                self._epoch,
                self._mark(claim.fence.node),
                self._fixed,
                self._addresses,
                self._unjournaled,
                self._expiries,
            ],
            [
                *_fence(claim.fence),
                claim.identity.token,
                str(claim.attachment),
                claim.pod_uid,
                claim.fence.node,
                *(
                    (str(candidate.address), candidate.eni, candidate.subnet)
                    if candidate is not None
                    else ("", "", "")
                ),
                round(expires.total_seconds()) if expires is not None else "",
            ],
            fence=claim.fence,
        )
        return _read_step(AcquireStatus, claim.identity, reply)

    async def arrive(
        self, identity: Identity, generation: Generation, node: NodeName, eni: EniId
    ) -> Step[ArriveStatus]:
        reply = await self._step(
            "arrive",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, str(generation), node, eni],
            fence=None,
        )
        return _read_step(ArriveStatus, identity, reply)

    async def retain(
        self, fence: FencedBy, identity: Identity, attachment: str, generation: Generation
    ) -> Step[RetainStatus]:
        reply = await self._step(
            "retain",
            [
                self._epoch,
                self._mark(fence.node),
                self._fixed,
                self._unjournaled,
                self._expiries,
            ],
            [*_fence(fence), identity.token, attachment, str(generation)],
            fence=fence,
        )
        return _read_step(RetainStatus, identity, reply)

    async def now(self) -> datetime:
        try:
            seconds, microseconds = await self._store.time()
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    async def take_due(self, by: datetime, *, limit: int, retry: timedelta) -> list[Lease]:
        reply = await self._step(
            "take_due",
            [self._epoch, self._fixed, self._expiries],
            [_milliseconds(by), limit, _milliseconds(by + retry)],
            fence=None,
        )
        return [
            decode_lease(token, body)
            for token, body in zip(reply[1::2], reply[2::2], strict=True)
        ]

    async def expire(self, identity: Identity, by: datetime) -> Step[ExpireStatus]:
        reply = await self._step(
            "expire",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, _milliseconds(by)],
            fence=None,
        )
        return _read_step(ExpireStatus, identity, reply)

    async def give_up(
        self, identity: Identity, generation: Generation, *, force: bool
    ) -> Step[GiveUpStatus]:
        reply = await self._step(
            "give_up",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, str(generation), "1" if force else "0"],
            fence=None,
        )
        return _read_step(GiveUpStatus, identity, reply)

    async def set_policy(
        self, identity: Identity, expires_after: timedelta | None
    ) -> Step[PolicyStatus]:
        span = "" if expires_after is None else round(expires_after.total_seconds())
        reply = await self._step(
            "set_policy",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, span],
            fence=None,
        )
        return _read_step(PolicyStatus, identity, reply)

    async def forget(self, identity: Identity, generation: Generation) -> ForgetStatus:
        reply = await self._step(
            "forget",
            [
                self._epoch,
                self._fixed,
                self._addresses,
                self._unjournaled,
                self._expiries,
            ],
            [identity.token, str(generation)],
            fence=None,
        )
        return ForgetStatus(reply[0].decode())

    async def report(
        self,
        fence: FencedBy,
        views: Sequence[ReportedView],
        gone: Sequence[IPv4Address],
        *,
        is_whole: bool,
    ) -> None:
        pairs = [part for view in views for part in (str(view.address), view.body)]
        await self._step(
            "report",
            [self._epoch, self._mark(fence.node), self._reported(fence.node)],
            [
                *_fence(fence),
                "1" if is_whole else "0",
                len(views),
                *pairs,
                *(str(address) for address in gone),
            ],
            fence=fence,
        )

    async def journaled(self, identity: Identity, generation: Generation) -> None:
        await self._scripts.run(
            "journaled", [self._unjournaled], [identity.token, str(generation)]
        )

    async def unjournaled(self, limit: int) -> list[Lease]:
        try:
            cursor, marked = await self._store.hscan(self._unjournaled, 0, count=limit)
            while cursor and not marked:  # the first pages run empty as marks are taken off
                cursor, marked = await self._store.hscan(self._unjournaled, cursor, count=limit)
            tokens = list(marked)
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
        return decode_lease(identity.token, body) if body is not None else None

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
        return sorted(NodeName(decode_token(_text(name))) for name in names)

    async def reported(self, node: NodeName) -> list[ReportedView]:
        try:
            views = await self._store.hgetall(self._reported(node))
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return [
            ReportedView(address=IPv4Address(_text(address)), body=_text(body))
            for address, body in views.items()
        ]

    # The recovery's side.

    def use_epoch(self, number: int | None) -> None:
        self._number = number

    async def epoch(self) -> StoreEpoch:
        try:
            known = await self._store.hmget(self._epoch, ["number", "run_id", "counter"])
            server = await self._store.info("server")
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        number, run_id, counter = (_text(value or b"") for value in known)
        epoch = int(number or 0)
        return StoreEpoch(
            number=epoch,
            is_same_server=run_id == str(server["run_id"]),
            highest=Generation((epoch << GENERATION_BITS) + int(counter or 0)),
        )

    async def claim(self, number: int, *, empty: bool) -> bool:
        prefix = lease_key(self._cluster, "mark:")
        reply = await self._scripts.run(
            "claim_epoch",
            [
                self._epoch,
                self._nodes,
                self._fixed,
                self._addresses,
                self._unjournaled,
                self._expiries,
            ],
            [number, "1" if empty else "0", prefix],
        )
        return bool(reply)

    async def restore(self, number: int, leases: Sequence[Lease]) -> bool:
        for start in range(0, len(leases), _RESTORE_MAX):
            # One argument: the client packs thousands of small ones ten times as slowly.
            batch = json.dumps(
                [
                    (lease.identity.token, str(lease.address), encode_lease(lease))
                    for lease in leases[start : start + _RESTORE_MAX]
                ]
            )
            if not await self._scripts.run(
                "restore",
                [self._epoch, self._fixed, self._addresses, self._expiries],
                [number, batch],
            ):
                return False
        return True

    async def open(self, number: int) -> bool:
        return bool(await self._scripts.run("open_epoch", [self._epoch], [number]))

    async def check_durability(self) -> None:
        """Raise Refused when an acknowledged write could be lost with the server's machine."""
        try:
            kept = await self._store.config_get("append*")
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store's persistence settings: {error}") from error
        found = (kept.get("appendonly"), kept.get("appendfsync"))
        if found != ("yes", "always"):
            raise Refused(
                f"the store has appendonly {found[0]!r}, appendfsync {found[1]!r}: an "
                "acknowledged lease could be lost; set appendonly yes and appendfsync always, "
                "or the setting durability to memory"
            )

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
        reply: list[Any] = await self._scripts.run(name, keys, [self._number, *arguments])
        refusal = unheard(reply[0].decode(), fence)
        if refusal is not None:
            raise refusal
        return reply

    def _mark(self, node: NodeName) -> str:
        return lease_node_key(self._cluster, "mark", node)

    def _reported(self, node: NodeName) -> str:
        return lease_node_key(self._cluster, "reported", node)


def _fence(fence: FencedBy) -> tuple[int, int, int]:
    return fence.incarnation, fence.sequence, fence.lowest_unsettled


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _read_step(kind: type[Status], identity: Identity, reply: list[Any]) -> Step[Status]:
    status, body, unjournaled = (bytes(part) for part in reply)
    is_record = body.startswith(b"{")
    return Step(
        status=kind(status.decode()),
        lease=decode_lease(identity.token, body) if is_record else None,
        is_journaled=unjournaled == b"0",
    )
