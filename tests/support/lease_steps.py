"""Steps that tests of a store of leases begin with, and the two stores they run on."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.domain.leases import AcquireStatus, Lease
from shared.errors import Unavailable
from shared.ids import Identity, Incarnation, NodeName
from tests.support.lease_requests import NodeVoice, attachment, identity

Store = MemoryLeases | RedisLeases
ONE, TWO = NodeName("node-1"), NodeName("10.0.0.2")
SPAN = timedelta(minutes=5)
RETRY = timedelta(seconds=10)


async def opened(store: Store, number: int, *, empty: bool = False) -> None:
    assert await store.claim(number, empty=empty)
    assert await store.open(number)
    store.use_epoch(number)


async def voice(
    store: Store, node: NodeName, *, nonce: str = "start", last: int = 0
) -> NodeVoice:
    incarnation = await store.register(node, last=Incarnation(last), nonce=nonce)
    return NodeVoice(node, incarnation)


async def bound(store: Store, by: NodeVoice, pod: str = "web-0", at: str = "10.0.0.9") -> Lease:
    step = await store.acquire(by.claim(pod, candidate=at))
    assert step.status is AcquireStatus.BOUND
    assert step.lease is not None
    return step.lease


async def reconnected(store: Store) -> None:
    """What was asked on a connection that died is Unavailable, once for each of them."""
    for _ in range(5):
        with suppress(Unavailable):
            await store.journaled([])
            return
    raise AssertionError("the store does not answer")


async def retained(
    store: Store, by: NodeVoice, pod: str = "web-0", at: str = "10.0.0.9"
) -> Lease:
    lease = await bound(store, by, pod, at)
    step = await store.retain(
        by.fence(), lease.identity, str(attachment("s1")), lease.generation
    )
    assert step.lease is not None
    return step.lease


async def moving(store: Store, one: NodeVoice, two: NodeVoice) -> Lease:
    await retained(store, one)
    step = await store.acquire(two.claim("web-0", uid="uid-2", sandbox="s2"))
    assert step.status is AcquireStatus.MUST_MOVE
    assert step.lease is not None
    return step.lease


async def gone(
    store: Store,
    by: NodeVoice,
    pod: str = "web-0",
    at: str = "10.0.0.9",
    span: timedelta | None = SPAN,
) -> Lease:
    """The lease of a pod that has just ended."""
    step = await store.acquire(by.claim(pod, candidate=at, expires_after=span))
    assert step.lease is not None
    released = await store.retain(
        by.fence(), identity(pod), str(attachment("s1")), step.lease.generation
    )
    assert released.lease is not None
    return released.lease


async def due(store: Store, by: datetime, limit: int = 10) -> list[Identity]:
    return [
        lease.identity
        for lease in await store.take_due(by, limit=limit, retry=RETRY, look=RETRY)
    ]


async def expired(store: Store, by: NodeVoice) -> Lease:
    lease = await gone(store, by)
    step = await store.expire(lease.identity, lease.since + SPAN)
    assert step.lease is not None
    return step.lease
