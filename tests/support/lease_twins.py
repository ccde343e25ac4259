"""Two stores asked the same: what each says, in words that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from services.allocator.domain.leases import (
    AcquireStatus,
    ArriveStatus,
    ExpireStatus,
    GiveUpStatus,
    Lease,
    ParkStatus,
    PolicyStatus,
    RetainStatus,
    Step,
    TakeOverStatus,
)
from shared.errors import BerthError
from tests.support.lease_steps import Store

Ask = Callable[[Store], Coroutine[Any, Any, object]]
_THEN = datetime(2026, 1, 1, tzinfo=UTC)
# As objects: statuses of one word are equal, whatever they are of.
_GRANTED = (
    AcquireStatus.BOUND,
    AcquireStatus.HELD,
    AcquireStatus.MUST_MOVE,
    ArriveStatus.ARRIVED,
    RetainStatus.RETAINED,
    ExpireStatus.EXPIRED,
    GiveUpStatus.EXPIRED,
    PolicyStatus.SET,
    TakeOverStatus.MOVING,
    ParkStatus.PARKING,
)


async def empty(redis: Redis) -> None:
    await redis.flushall()


async def said(ask: Ask, store: Store) -> object:
    try:
        return await ask(store)
    except BerthError as error:
        return error


async def all_of(store: Store) -> list[Lease]:
    return (await store.leases(0, 1000))[1]


async def recover(store: Store, number: int, *, is_rebuild: bool) -> None:
    leases = await all_of(store)
    assert await store.claim(number, empty=is_rebuild)
    if is_rebuild:
        assert await store.restore(number, leases)
    assert await store.open(number)
    store.use_epoch(number)


def comparable(answer: object) -> object:
    if isinstance(answer, BerthError):
        return type(answer)
    if isinstance(answer, Step):
        if answer.lease is None:
            return answer.status
        # What is refused is not answered with the lease, so nobody asks whether it is durable.
        is_granted = any(answer.status is each for each in _GRANTED)
        is_journaled = answer.is_journaled if is_granted else None
        ended = None if answer.ended is None else timeless(answer.ended)
        return answer.status, is_journaled, timeless(answer.lease), ended
    return answer


def timeless(lease: Lease) -> Lease:
    return replace(lease, since=_THEN)
