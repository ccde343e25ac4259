"""Fixtures for every test: real servers, and a place to make namespaces even without root."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from shared.kernel.conversation import Conversation
from shared.kernel.links import set_up
from shared.kernel.netns import isolate
from shared.kernel.syscalls import can_administer
from tests.support.servers import NatsServer, RedisServer
from tests.support.servers import nats_server as run_nats
from tests.support.servers import redis_server as run_redis

_LOOPBACK = 1

why_no_namespaces: str | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Without the right to make namespaces, move the whole run into a user namespace."""
    global why_no_namespaces
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in a shell's background; the commands that tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if can_administer():
        return
    # Inside, this user is called root, and pytest's own folder may be the real root's.
    temporary = Path(tempfile.gettempdir(), f"berth-t{os.geteuid()}")
    temporary.mkdir(mode=0o700, exist_ok=True)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(temporary)
    try:
        isolate()
    except OSError as error:
        why_no_namespaces = f"the kernel refuses user namespaces: {error}"
        return
    with Conversation() as conversation:
        conversation.do([set_up(_LOOPBACK)])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if why_no_namespaces is None:
        return
    for item in items:
        if item.get_closest_marker("kernel"):
            item.add_marker(pytest.mark.skip(reason=why_no_namespaces))


@pytest.fixture
def nats_server() -> Iterator[NatsServer]:
    """NATS with JetStream, anybody may speak."""
    with run_nats() as server:
        yield server


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Valkey whose every write is on the disk before it answers."""
    with run_redis() as server:
        yield server


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_server.url)
    try:
        yield client
    finally:
        await client.aclose()
