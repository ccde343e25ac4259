"""Leases written in bulk, to store and journal, as an allocator would have left them."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address
from types import TracebackType
from typing import Any, Final

from nats.aio.client import Client
from redis.asyncio import Redis

from services.allocator.adapters.lease_codec import encode_lease
from services.allocator.domain.leases import Lease
from shared.addresses import AddressState
from shared.ids import (
    GENERATION_BITS,
    AttachmentKey,
    EniId,
    Generation,
    Identity,
    NodeName,
    PodUid,
    SubnetId,
)
from shared.messages.subjects import journal_lease_subject
from shared.store.keys import lease_key
from tests.support.allocators import CLUSTER
from tests.support.servers import RedisServer

FIRST: Final = int(IPv4Address("10.0.0.0"))
_BATCH: Final = 1000
_EPOCH: Final = 1


def lease(number: int) -> Lease:
    """What a pod of a StatefulSet holds, names as long as a cluster's are."""
    digits = f"{number:012x}"
    return Lease(
        identity=Identity("production", f"orders-database-{number}", "berth"),
        address=IPv4Address(FIRST + number),
        state=AddressState.BOUND_FIXED,
        generation=Generation((_EPOCH << GENERATION_BITS) + number + 1),
        subnet=SubnetId("subnet-7n2x4k8q"),
        node=NodeName(f"10.250.{number >> 8 & 255}.{number & 255}"),
        eni=EniId(f"eni-{number >> 5:08x}"),
        moving_to=None,
        pod_uid=PodUid(f"4f0c2b9e-8d1a-4c57-9e3b-{digits}"),
        attachment=str(AttachmentKey("berth", f"{number:064x}", "eth0")),
        since=datetime.now(UTC),
        expires_after=None,
        workload="StatefulSet:orders-database",
    )


class LeaseFill:
    """Writes leases beside a running allocator, under its own epoch (the first)."""

    def __init__(self, client: Client, server: RedisServer) -> None:
        self._client = client
        self.redis = Redis.from_url(server.url)

    async def __aenter__(self) -> LeaseFill:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.redis.aclose()

    async def put(self, many: int, *, first: int = 0) -> None:
        """The leases from the first on, until there are so many."""
        await self.redis.hincrby(lease_key(CLUSTER, "epoch"), "counter", many - first)
        for start in range(first, many, _BATCH):
            batch = [lease(number) for number in range(start, min(many, start + _BATCH))]
            records = {each.identity.token: encode_lease(each) for each in batch}
            await self.redis.hset(lease_key(CLUSTER, "fixed"), mapping=dict[Any, Any](records))
            await self.redis.hset(
                lease_key(CLUSTER, "addresses"),
                mapping=dict[Any, Any](
                    (str(each.address), each.identity.token) for each in batch
                ),
            )
            for each in batch:
                subject = journal_lease_subject(CLUSTER, each.identity)
                await self._client.publish(subject, records[each.identity.token].encode())
            await self._client.flush(timeout=30)

    async def bytes_per_lease(self) -> dict[str, float]:
        """Exact, not sampled."""
        fixed = lease_key(CLUSTER, "fixed")
        many = await self.redis.hlen(fixed)
        found = {}
        for noun in ("fixed", "addresses", "unjournaled"):
            used = await self.redis.memory_usage(lease_key(CLUSTER, noun), samples=0)
            found[noun] = (used or 0) / many
        return found
