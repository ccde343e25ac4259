"""Records of an older release: every step reads them, and writes its own, or that if told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from services.allocator.adapters.lease_codec import decode_lease, encode_lease
from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.domain.leases import AcquireStatus, RetainStatus
from services.allocator.durability import WriteGate
from shared.addresses import AddressState
from shared.errors import EpochLost
from shared.ids import AttachmentKey, Generation, Identity, Incarnation, NodeName, WorkloadName
from shared.policies import LeasePolicy
from shared.store.lease_records import RECORD_VERSION
from tests.support.allocators import CLUSTER
from tests.support.lease_requests import NodeVoice, identity
from tests.support.version_1 import Version1
from tests.unit.allocator.test_codec import BOUND

NODE = NodeName("node-1")
SANDBOX = "0123456789abcdef" * 4
HELD_BY = AttachmentKey("berth", SANDBOX, "eth0")
OLD = {
    "v": 1,
    "a": "10.0.0.9",
    "s": "bound_fixed",
    "g": "1099511627777",
    "sn": "subnet-a",
    "n": NODE,
    "e": "eni-node-1",
    "u": "uid-1",
    "c": str(HELD_BY),
    "t": 1767268800123,
}
FIXED = f"berth:{{{CLUSTER}}}:lease:fixed"


@pytest.fixture
async def store(redis: Redis) -> RedisLeases:
    """A store with one lease of version 1, in an open epoch."""
    store = RedisLeases(redis, CLUSTER, WriteGate())
    await store.claim(1, empty=True)
    await store.open(1)
    store.use_epoch(1)
    token = identity("web-0").token
    await redis.hset(FIXED, token, json.dumps(OLD))
    await redis.hset(f"berth:{{{CLUSTER}}}:lease:addresses", "10.0.0.9", token)
    return store


@pytest.fixture
async def one(store: RedisLeases) -> NodeVoice:
    return NodeVoice(NODE, await store.register(NODE, last=Incarnation(0), nonce="start"))


async def test_its_holder_still_holds_it(store: RedisLeases, one: NodeVoice) -> None:
    step = await store.acquire(one.claim("web-0", sandbox=SANDBOX))

    assert step.status is AcquireStatus.HELD
    assert step.lease is not None
    assert step.lease.attachment == str(HELD_BY)


async def test_its_holder_can_end_it_and_the_record_is_of_this_version(
    store: RedisLeases, one: NodeVoice, redis: Redis
) -> None:
    step = await store.retain(
        one.fence(), identity("web-0"), str(HELD_BY), Generation(1099511627777)
    )

    assert step.status is RetainStatus.RETAINED
    assert step.lease is not None
    assert (step.lease.state, step.lease.attachment) == (AddressState.RETAINED, str(HELD_BY))
    stored = await redis.hget(FIXED, identity("web-0").token)
    assert json.loads(stored or b"")[0] == RECORD_VERSION


async def test_it_is_found_and_listed(store: RedisLeases) -> None:
    found = await store.find(identity("web-0"))
    _, page = await store.leases(0, 10)

    assert found is not None
    assert page == [found]
    assert found.generation == 1099511627777


async def test_with_format_1_a_step_writes_what_the_release_before_reads(
    store: RedisLeases, one: NodeVoice, redis: Redis
) -> None:
    older = RedisLeases(redis, CLUSTER, WriteGate(), stored_format=1)
    older.use_epoch(1)
    made_by = WorkloadName("default", "StatefulSet", "web")
    claim = one.claim("web-7", sandbox=SANDBOX, candidate="10.0.0.7", made_by=made_by)

    step = await older.acquire(claim)

    body = await redis.hget(FIXED, identity("web-7").token) or b""
    told = Version1.model_validate_json(body)
    assert (told.c, told.w) == (str(HELD_BY), "StatefulSet:web")
    assert decode_lease(identity("web-7").token, body) == step.lease


@pytest.mark.parametrize("network", ["berth", "a.b-c_d"])
async def test_a_rewritten_record_is_the_one_that_format_1_would_have_written(
    store: RedisLeases, redis: Redis, network: str
) -> None:
    lease = replace(
        BOUND,
        identity=Identity("kube.system", "web-0.a", network),
        attachment=f"{network}/{SANDBOX}/eth0",
        workload="StatefulSet:web",
        policy=LeasePolicy.CASCADE,
        is_expiry_set=True,
    )
    token = lease.identity.token
    await redis.hset(FIXED, token, encode_lease(lease))
    older = RedisLeases(redis, CLUSTER, WriteGate(), stored_format=1)
    older.use_epoch(1)

    assert await older.count_newer() == 1
    assert [each async for each in older.rewrite_newer()] == [1]

    body = await redis.hget(FIXED, token) or b""
    assert json.loads(body) == json.loads(encode_lease(lease, 1))
    assert Version1.model_validate_json(body).c == lease.attachment
    assert decode_lease(token, body) == lease
    assert await older.count_newer() == 0


async def test_a_server_that_is_not_the_epochs_own_is_not_written_again(
    store: RedisLeases, redis: Redis
) -> None:
    token, written = BOUND.identity.token, encode_lease(BOUND)
    await redis.hset(FIXED, token, written)
    older = RedisLeases(redis, CLUSTER, WriteGate(), stored_format=1)
    older.use_epoch(1)
    await redis.hset(f"berth:{{{CLUSTER}}}:lease:epoch", "run_id", "of another server")

    with pytest.raises(EpochLost):
        await anext(older.rewrite_newer())

    assert await redis.hget(FIXED, token) == written.encode()
