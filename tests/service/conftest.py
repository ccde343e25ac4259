"""Fixtures of tests that run one service over real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.eni_world import EniWorld, eni_world
from tests.support.servers import NatsServer, RedisServer


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """An eni_manager beside a simulated cloud without a network."""
    async with eni_world(nats_server, redis_server, tmp_path) as found, found.manager():
        yield found
