"""An allocator on Redis 7 behind sentinels, with TLS on every connection between them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from services.allocator.config import AllocatorSettings
from shared.errors import BerthError, Unavailable
from shared.store.connection import check_store, close_store, open_store
from tests.service.allocator.test_sentinels import asked_by, state_of
from tests.support.allocators import CLUSTER, Agent, bus_client, registered, running
from tests.support.encrypted_stores import BINARY, encrypted_store
from tests.support.servers import NatsServer

FAIL_OVER_S = 60


async def is_watched(settings: AllocatorSettings) -> None:
    """Until every sentinel knows the others and the replica: else none could be promoted."""
    client = open_store(settings)
    try:
        async with asyncio.timeout(FAIL_OVER_S):
            while True:
                states = [await state_of(each) for each in asked_by(client)]
                if all(
                    (each["num-slaves"], each["num-other-sentinels"]) == (1, 2)
                    for each in states
                ):
                    return
                await asyncio.sleep(0.05)
    finally:
        await close_store(client)


async def acquired(agent: Agent, pod: str, candidate: str) -> str:
    """As an agent does: the same question again until it is answered."""
    async with asyncio.timeout(FAIL_OVER_S):
        while True:
            with suppress(BerthError):
                return str((await agent.acquire(pod, candidate=candidate)).address)
            await asyncio.sleep(0.1)


@pytest.mark.long
@pytest.mark.skipif(not BINARY.exists(), reason="redis-tools of Debian is not installed")
async def test_leases_outlive_a_fail_over_that_is_encrypted(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    with encrypted_store(CLUSTER, tmp_path) as store:
        settings = AllocatorSettings.model_validate(
            {
                "cluster": CLUSTER,
                "nats_url": nats_server.url,
                "claim_timeout_s": 1.0,
                **store.settings,
            }
        )
        await is_watched(settings)
        async with running(settings), bus_client(nats_server) as (client, _):
            agent = Agent(client, "node-1")
            await registered(agent)
            first = await acquired(agent, "web-0", "10.0.0.9")

            store.master.kill()
            again = await acquired(agent, "web-0", "10.0.0.10")
            second = await acquired(agent, "web-1", "10.0.0.10")

    assert (first, again, second) == ("10.0.0.9", "10.0.0.9", "10.0.0.10")


@pytest.mark.long
@pytest.mark.skipif(not BINARY.exists(), reason="redis-tools of Debian is not installed")
async def test_who_shows_no_certificate_is_told_of_no_master(tmp_path: Path) -> None:
    with encrypted_store(CLUSTER, tmp_path) as store:
        bare = {"redis_tls_cert_file": None, "redis_tls_key_file": None}
        settings = AllocatorSettings.model_validate(store.settings | bare)
        client = open_store(settings)
        try:
            with pytest.raises(Unavailable, match="No master found"):
                await check_store(client, settings)
        finally:
            await close_store(client)
