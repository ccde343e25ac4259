"""Implements EpochStore on Redis: the recovery's side of the books, under a claim."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError

from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import StoreEpoch
from shared.errors import Unavailable
from shared.ids import GENERATION_BITS, Generation
from shared.store.keys import lease_key

from .lease_codec import encode_lease
from .redis_books import RedisBooks, text_of

_RESTORE_MAX: Final = 1000


class RedisEpochs(RedisBooks):
    """Which server the books are on, and how they are put back on another."""

    async def epoch(self) -> StoreEpoch:
        try:
            known = await self._store.hmget(self._epoch, ["number", "run_id", "counter"])
            server = await self._store.info("server")
        except (RedisError, OSError) as error:
            raise Unavailable(f"the store: {error}") from error
        number, run_id, counter = (text_of(value or b"") for value in known)
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
                    (
                        lease.identity.token,
                        str(lease.address),
                        encode_lease(lease, self._format),
                    )
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
