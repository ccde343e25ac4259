"""A power cut of the store's machine: what its server had not flushed is gone.

The server runs with a shim that notes the length of each file at every flush. The cut kills it
and cuts each of its files back to the last length that was flushed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import RedisServer, redis_server

_SHIM = Path(__file__).with_name("synced_lengths.c")
_FLUSHED = ("*.aof", "*.rdb", "*.manifest")


class MortalStore:
    """A store whose machine may lose its power."""

    def __init__(self, server: RedisServer, notes: Path) -> None:
        self.server = server
        self._notes = notes

    def cut_power(self) -> int:
        """Kill it and lose what was not flushed; how many bytes that were."""
        self.server.kill()
        flushed = self._flushed()
        lost = 0
        for pattern in _FLUSHED:
            for file in self.server.folder.rglob(pattern):
                found = file.stat()
                kept = min(found.st_size, flushed.get((found.st_dev, found.st_ino), 0))
                lost += found.st_size - kept
                os.truncate(file, kept)
        return lost

    def _flushed(self) -> dict[tuple[int, int], int]:
        last: dict[tuple[int, int], int] = {}
        for line in self._notes.read_text().splitlines():
            device, inode, length = map(int, line.split())
            last[device, inode] = length
        return last


@contextmanager
def mortal_store(folder: Path, *arguments: str) -> Iterator[MortalStore]:
    """A store with the shim, compiled into `folder`."""
    shim, notes = folder / "synced_lengths.so", folder / "notes"
    compiler = shutil.which("cc") or "gcc"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(shim), str(_SHIM), "-ldl"], check=True
    )
    environment = {"LD_PRELOAD": str(shim), "SYNCED_LENGTHS": str(notes)}
    with redis_server(*arguments, environment=environment) as server:
        yield MortalStore(server, notes)
