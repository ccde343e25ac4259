"""Ways in which a store loses what it was told, each on a real server under load."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from redis.asyncio import Redis

from tests.support.servers import RedisServer, redis_server

_FILES: Final = "appendonlydir"
_SYNC_S_MAX: Final = 60.0
_POLL_S: Final = 0.05
_NOWHERE: Final = ("127.0.0.1", 1)  # nobody listens there


class Loss(Protocol):
    """What happens to the store; its clients find it at the same address afterwards."""

    async def happen(self, redis: Redis) -> None: ...


class Emptied:
    """FLUSHALL."""

    async def happen(self, redis: Redis) -> None:
        await redis.flushall()


class Killed:
    """kill -9, and a start with the files that it leaves."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def happen(self, redis: Redis) -> None:
        await self._server.restart()


class PutBack:
    """A start with older files."""

    def __init__(self, server: RedisServer, files: Path) -> None:
        self._server = server
        self._files = files

    @classmethod
    @contextmanager
    def taken(cls, server: RedisServer) -> Iterator[PutBack]:
        """Files as they are now; the server is restarted for it."""
        with tempfile.TemporaryDirectory(prefix="berth-bench-") as folder:
            server.kill()
            files = Path(shutil.copytree(server.folder / _FILES, Path(folder) / _FILES))
            server.start()
            yield cls(server, files)

    async def happen(self, redis: Redis) -> None:
        self._server.kill()
        shutil.rmtree(self._server.folder / _FILES)
        shutil.copytree(self._files, self._server.folder / _FILES)
        await asyncio.to_thread(self._server.start)


class Promoted:
    """A replica that was cut off takes its dead master's place, and its port."""

    def __init__(self, master: RedisServer, replica: Redis) -> None:
        self._master = master
        self._replica = replica

    @classmethod
    @asynccontextmanager
    async def following(cls, master: RedisServer) -> AsyncIterator[Promoted]:
        with redis_server() as server:
            async with Redis.from_url(server.url) as replica:
                await replica.replicaof("127.0.0.1", master.port)
                async with asyncio.timeout(_SYNC_S_MAX):
                    await _follows(replica)
                yield cls(master, replica)

    async def cut_off(self) -> None:
        """It keeps what it has, and hears nothing more."""
        await self._replica.replicaof(*_NOWHERE)

    async def happen(self, redis: Redis) -> None:
        self._master.kill()
        await self._replica.replicaof("NO", "ONE")
        await self._replica.config_set("port", self._master.port)


async def _follows(replica: Redis) -> None:
    while True:
        if (await replica.info("replication"))["master_link_status"] == "up":
            return
        await asyncio.sleep(_POLL_S)
