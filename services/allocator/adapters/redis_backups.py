"""Leases as a backup holds them, on Redis: put back, looked at many at a time, counted."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import RedisError

from services.allocator.domain.leases import Lease, PutBackStatus, Step
from shared.errors import Unavailable
from shared.ids import Identity

from .lease_codec import decode_lease, encode_lease
from .redis_books import RedisBooks, read_step


class RedisBackups(RedisBooks):
    """What backup, restore and comparison ask of the store."""

    async def put_back(
        self, lease: Lease, *, replace: bool, is_trial: bool
    ) -> Step[PutBackStatus]:
        reply = await self._step(
            "put_back",
            [self._epoch, self._fixed, self._addresses, self._unjournaled, self._expiries],
            [
                lease.identity.token,
                encode_lease(lease),
                "1" if replace else "0",
                "0" if is_trial else "1",
            ],
            fence=None,
        )
        return read_step(PutBackStatus, lease.identity, reply)

    async def found_of(self, identities: Sequence[Identity]) -> list[Lease | None]:
        if not identities:
            return []
        tokens = [identity.token for identity in identities]
        try:
            bodies = await self._store.hmget(self._fixed, tokens)
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        return [
            decode_lease(token, body) if body is not None else None
            for token, body in zip(tokens, bodies, strict=True)
        ]

    async def count(self) -> int:
        try:
            return int(await self._store.hlen(self._fixed))
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
