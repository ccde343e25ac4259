"""How a fixed lease ends on Redis, or loses its place: by its span, by a word, handed over."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.allocator.domain.leases import (
    ExpireStatus,
    ForgetStatus,
    GiveUpStatus,
    Lease,
    ParkStatus,
    PolicyStatus,
    Step,
    VacateStatus,
)
from shared.ids import Generation, Identity, NodeName
from shared.policies import LeasePolicy

from .lease_codec import decode_lease
from .redis_books import RedisBooks, milliseconds, read_step, stored_policy


class RedisEnds(RedisBooks):
    """The steps of the reaper and of people."""

    async def take_due(
        self, by: datetime, *, limit: int, retry: timedelta, look: timedelta
    ) -> list[Lease]:
        reply = await self._step(
            "take_due",
            [self._epoch, self._fixed, self._expiries],
            [milliseconds(by), limit, milliseconds(by + retry), milliseconds(by + look)],
            fence=None,
        )
        return [
            decode_lease(token, body)
            for token, body in zip(reply[1::2], reply[2::2], strict=True)
        ]

    async def take_begun(
        self, by: datetime, *, limit: int, retry: timedelta, rank: int
    ) -> tuple[list[Lease], int]:
        reply = await self._step(
            "take_begun",
            [self._epoch, self._fixed, self._expiries],
            [milliseconds(by), limit, milliseconds(by + retry), rank],
            fence=None,
        )
        taken = [
            decode_lease(token, body)
            for token, body in zip(reply[2::2], reply[3::2], strict=True)
        ]
        return taken, int(reply[1])

    async def expire(self, identity: Identity, by: datetime) -> Step[ExpireStatus]:
        reply = await self._step(
            "expire",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, milliseconds(by)],
            fence=None,
        )
        return read_step(ExpireStatus, identity, reply)

    async def park(self, identity: Identity, until: datetime) -> Step[ParkStatus]:
        reply = await self._step(
            "park",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, milliseconds(until)],
            fence=None,
        )
        return read_step(ParkStatus, identity, reply)

    async def leave(self, node: NodeName) -> None:
        await self._step(
            "leave", [self._epoch, self._mark(node), self._reported(node)], [], fence=None
        )

    async def vacate(
        self,
        identity: Identity,
        generation: Generation,
        node: NodeName,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[VacateStatus]:
        reply = await self._step(
            "vacate",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, str(generation), node, stored_policy(policy)],
            fence=None,
        )
        return read_step(VacateStatus, identity, reply)

    async def give_up(
        self,
        identity: Identity,
        generation: Generation,
        *,
        force: bool,
        is_called_off: bool = False,
    ) -> Step[GiveUpStatus]:
        reply = await self._step(
            "give_up",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [
                identity.token,
                str(generation),
                "1" if force else "0",
                "1" if is_called_off else "0",
            ],
            fence=None,
        )
        return read_step(GiveUpStatus, identity, reply)

    async def set_policy(
        self,
        identity: Identity,
        expires_after: timedelta | None,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[PolicyStatus]:
        span = "" if expires_after is None else round(expires_after.total_seconds())
        reply = await self._step(
            "set_policy",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, span, stored_policy(policy)],
            fence=None,
        )
        return read_step(PolicyStatus, identity, reply)

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
