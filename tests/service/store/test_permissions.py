"""Who may touch what in the store, as a real server enforces it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from shared.errors import Refused, Unavailable
from shared.ids import ClusterName, NodeName
from shared.settings import StoreSettings
from shared.store.connection import check_store, open_store
from shared.store.keys import eni_key, eni_node_key, lease_key, lease_node_key
from shared.store.permissions import StoreUser
from tests.service.store.conftest import CLUSTER, GuardedStore

LEASE = lease_key(CLUSTER, "fixed")
ENI = eni_key(CLUSTER, "nodes")
OTHER_CLUSTER = lease_key(ClusterName("default2"), "fixed")

FORBIDDEN = [
    "FLUSHALL", "KEYS *", "SCAN 0", "CONFIG SET appendonly no", "ACL LIST", "SHUTDOWN NOSAVE",
    "MONITOR", "SAVE", "CLIENT LIST", "MODULE LIST", "REPLICAOF NO ONE",
    "SCRIPT FLUSH", "SUBSCRIBE x", "PUBLISH x y", "FUNCTION LIST", "RANDOMKEY",
]  # fmt: skip


@asynccontextmanager
async def opened(settings: StoreSettings) -> AsyncIterator[Redis]:
    store = open_store(settings)
    try:
        yield store
    finally:
        await store.aclose()


async def run(store: Redis, *words: str | int) -> object:
    answer: object = await store.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py's own
    return answer


async def test_each_service_writes_its_own_keys(guarded_store: GuardedStore) -> None:
    for user, key in (
        (StoreUser.ALLOCATOR, LEASE),
        (StoreUser.ALLOCATOR, lease_node_key(CLUSTER, "mark", NodeName("10.0.0.2"))),
        (StoreUser.ENI_MANAGER, ENI),
        (StoreUser.ENI_MANAGER, eni_node_key(CLUSTER, "book", NodeName("node-1"))),
    ):
        async with opened(guarded_store.settings(user)) as store:
            await run(store, "HSET", key, "field", "value")

            assert await run(store, "HGET", key, "field") == b"value"


async def test_the_eni_manager_reads_leases_and_writes_none(
    guarded_store: GuardedStore,
) -> None:
    async with opened(guarded_store.settings(StoreUser.ALLOCATOR)) as allocator:
        await run(allocator, "HSET", LEASE, "identity", "lease")

    async with opened(guarded_store.settings(StoreUser.ENI_MANAGER)) as manager:
        assert await run(manager, "HGET", LEASE, "identity") == b"lease"
        for command in (("HSET", LEASE, "identity", "mine"), ("UNLINK", LEASE)):
            with pytest.raises(NoPermissionError):
                await run(manager, *command)


@pytest.mark.parametrize(
    ("user", "key"),
    [
        pytest.param(StoreUser.ALLOCATOR, ENI, id="allocator-at-enis"),
        pytest.param(StoreUser.ALLOCATOR, OTHER_CLUSTER, id="allocator-at-another-cluster"),
        pytest.param(StoreUser.ENI_MANAGER, OTHER_CLUSTER, id="manager-at-another-cluster"),
        pytest.param(StoreUser.ENI_MANAGER, "anything", id="manager-anywhere"),
    ],
)
async def test_other_keys_are_closed(
    guarded_store: GuardedStore, user: StoreUser, key: str
) -> None:
    async with opened(guarded_store.settings(user)) as store:
        with pytest.raises(NoPermissionError):
            await run(store, "HGET", key, "field")
        with pytest.raises(NoPermissionError):
            await run(store, "HSET", key, "field", "value")


async def test_a_script_may_do_no_more_than_its_user(guarded_store: GuardedStore) -> None:
    async with opened(guarded_store.settings(StoreUser.ENI_MANAGER)) as store:
        with pytest.raises((NoPermissionError, ResponseError)):
            await run(store, "EVAL", f"return redis.call('HSET', '{LEASE}', 'a', 'b')", 0)

    async with opened(guarded_store.settings(StoreUser.ALLOCATOR)) as store:
        assert await run(store, "HEXISTS", LEASE, "a") == 0


@pytest.mark.parametrize("user", StoreUser)
@pytest.mark.parametrize("command", FORBIDDEN)
async def test_what_touches_the_whole_server_is_closed(
    guarded_store: GuardedStore, user: StoreUser, command: str
) -> None:
    async with opened(guarded_store.settings(user)) as store:
        with pytest.raises(NoPermissionError):
            await run(store, *command.split())


async def test_a_client_without_a_password_gets_nowhere(guarded_store: GuardedStore) -> None:
    url = f"redis://127.0.0.1:{guarded_store.port}/0"

    async with opened(StoreSettings(redis_url=url)) as store:
        with pytest.raises(Refused, match="the store refuses"):
            await check_store(store, StoreSettings(redis_url=url))
        with pytest.raises((AuthenticationError, NoPermissionError)):
            await run(store, "HGET", LEASE, "identity")


@pytest.mark.parametrize("user", ["default", "eni_manager", "nobody"])
async def test_another_users_password_does_not_fit(
    guarded_store: GuardedStore, user: str
) -> None:
    settings = guarded_store.settings(user, password_of=StoreUser.ALLOCATOR)

    async with opened(settings) as store:
        with pytest.raises(Refused, match="the store refuses"):
            await check_store(store, settings)


async def test_a_store_that_does_not_answer_is_one_line() -> None:
    settings = StoreSettings(redis_url="redis://127.0.0.1:1/0", redis_timeout_s=0.5)

    async with opened(settings) as store:
        with pytest.raises(Unavailable, match="does not answer") as refusal:
            await check_store(store, settings)

    assert "\n" not in str(refusal.value)


def test_a_password_in_the_address_is_refused() -> None:
    settings = StoreSettings(redis_url="redis://user:secret@127.0.0.1:6379/0")

    with pytest.raises(Refused, match="use redis_password_file") as refusal:
        open_store(settings)

    assert "secret" not in str(refusal.value)
