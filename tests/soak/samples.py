"""One look at everything that could grow: processes, store, streams, tasks."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Final

from nats.js import JetStreamContext

from shared.messages.events import EVENT_STREAM
from shared.messages.subjects import journal_stream
from tests.bench.processes import rss_mib
from tests.chaos.world import CLUSTER, World
from tests.soak.load import Load
from tests.soak.verdict import Series, Tolerance

HERE: Final = "nodes"  # this process: the agents, the cloud and the load
_MIB: Final = 1 << 20
_MEMORY: Final = Tolerance(once=3.0, per_hour=4.0)
_COUNTED: Final = Tolerance(once=8.0, per_hour=4.0)
_TOLERANCES: Final[Mapping[str, tuple[str, Tolerance | None]]] = {
    "rss": ("MiB", _MEMORY),
    "descriptors": ("", _COUNTED),
    "threads": ("", _COUNTED),
    "tasks": ("", _COUNTED),
    "used memory": ("MiB", Tolerance(once=0.5, per_hour=0.5)),
    "keys": ("", Tolerance(once=30.0, per_hour=30.0)),
    "append-only file": ("MiB", None),  # grows until it is rewritten
    "messages": ("", None),  # a tombstone of each lease that ended stays for a day
    "messages but tombstones": ("", Tolerance(once=50.0, per_hour=50.0)),
    "size": ("MiB", Tolerance(once=2.0, per_hour=2.0)),
}
"""By what the second half of a series' name says: its unit, and how much it may grow."""
# Its heap is swept now and then, and saws by 8 MiB; with each event it has one more to index.
_OF_NATS: Final = Tolerance(once=8.0, per_hour=8.0)
_TOLD: Final = ("jetstream", f"stream {EVENT_STREAM}")  # events stay for a week, by design


def tolerance_of(name: str) -> tuple[str, Tolerance | None]:
    """A series' unit, and how much it may grow."""
    unit, tolerance = _TOLERANCES[name.partition(": ")[2]]
    if name.startswith(_TOLD):
        return unit, None
    return unit, _OF_NATS if name == "nats: rss" else tolerance


class Samples:
    """What was seen so far, by series."""

    def __init__(self, world: World, load: Load) -> None:
        self._world = world
        self._load = load
        self._began_s = time.monotonic()
        self._points: dict[str, list[tuple[float, float]]] = {}

    async def take(self) -> None:
        at_s = round(time.monotonic() - self._began_s, 1)
        found = self._processes() | await self._store() | await self._streams()
        found[f"{HERE}: tasks"] = len(asyncio.all_tasks())
        for name, value in found.items():
            self._points.setdefault(name, []).append((at_s, round(value, 3)))

    @property
    def series(self) -> list[Series]:
        found = []
        for name, points in self._points.items():
            unit, tolerance = tolerance_of(name)
            found.append(
                Series(name=name, unit=unit, tolerance=tolerance, points=tuple(points))
            )
        return found

    def latest(self, name: str) -> float:
        return self._points[name][-1][1]

    def _processes(self) -> dict[str, float]:
        world = self._world
        pids = {HERE: os.getpid()}
        pids |= {name: service.pid for name, service in world.services.items()}
        pids |= {name: server.pid for name, server in world.parts.servers.items()}
        found: dict[str, float] = {}
        for name, pid in pids.items():
            found[f"{name}: rss"] = rss_mib(pid)
            found[f"{name}: descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
            found[f"{name}: threads"] = len(os.listdir(f"/proc/{pid}/task"))
        return found

    async def _store(self) -> dict[str, float]:
        info = await self._world.redis.info()
        return {
            "redis: used memory": int(info["used_memory"]) / _MIB,
            "redis: append-only file": int(info["aof_current_size"]) / _MIB,
            "redis: keys": await self._world.redis.dbsize(),
        }

    async def _streams(self) -> dict[str, float]:
        bus: JetStreamContext = self._world.nats.jetstream()
        account = await bus.account_info()
        found: dict[str, float] = {"jetstream: size": account.storage / _MIB}
        for stream in await bus.streams_info():
            name = f"stream {stream.config.name}"
            found[f"{name}: messages"] = stream.state.messages
            found[f"{name}: size"] = stream.state.bytes / _MIB
            if stream.config.name == journal_stream(CLUSTER):
                living = stream.state.messages - self._load.tally.names_ended
                found[f"{name}: messages but tombstones"] = living
        return found
