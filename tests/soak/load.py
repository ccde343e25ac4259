"""A steady, moderate load: pods of both kinds come and go, fixed ones move, agents restart.

What is kept of it does not grow with the time it takes: a soak that kept a history of its own
would find that leak first.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from shared.ids import PodName
from tests.chaos.history import BUG, History, Operation, Outcome, Verb
from tests.chaos.nodes import ChaosNode
from tests.chaos.runtime import Running, Runtime, to_its_end
from tests.chaos.world import World

EXPIRES_AFTER_S: Final = 8.0  # of a lease whose pod is away
_IMMEDIATE: Final = 6
_FIXED: Final = 6
_BRIEF: Final = 3
_RUNS_S: Final = (0.5, 1.5)
_AWAY_S: Final = (0.1, 0.5)
_AGENT_LIVES_S: Final = (10.0, 20.0)
_WRONG_MAX: Final = 20  # that are kept in words


@dataclass(slots=True)
class Tally(History):
    """Counts what a history would keep."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    restarts: int = 0
    names_ended: int = 0  # of fixed pods that never come again: their leases expire

    def add(self, operation: Operation) -> None:
        self.counts[f"{operation.verb} {operation.outcome}"] += 1
        if (operation.error or "").startswith(BUG) or not operation.is_answered:
            self.blame(f"{operation.verb} of {operation.sandbox}: {operation.error}")

    def blame(self, what: str) -> None:
        self.counts["wrong"] += 1
        if len(self.wrong) < _WRONG_MAX:
            self.wrong.append(what)

    @property
    def adds(self) -> int:
        return self.counts[f"{Verb.ADD} {Outcome.OK}"]


class Load:
    """Actors that go on until they are told to stop; then every pod is gone."""

    def __init__(self, world: World, seed: int) -> None:
        self.tally = Tally()
        world.history = self.tally
        self._world = world
        self._seed = seed
        self._holders: dict[str, str] = {}  # address -> the sandbox that was given it
        self._stop = asyncio.Event()
        self._actors: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        actors = {f"immediate-{n}": self._immediate(n) for n in range(_IMMEDIATE)}
        actors |= {f"fixed-{n}": self._fixed(n) for n in range(_FIXED)}
        actors |= {f"brief-{n}": self._brief(n) for n in range(_BRIEF)}
        actors["restarts"] = self._restarts()
        async with asyncio.TaskGroup() as group:
            self._actors = [
                group.create_task(to_its_end(each), name=name) for name, each in actors.items()
            ]

    def still_running(self) -> list[str]:
        """Actors that have not ended."""
        return [each.get_name() for each in self._actors if not each.done()]

    async def _immediate(self, number: int) -> None:
        runtime = self._runtime(f"immediate-{number}")
        while not self._stop.is_set():
            await self._live(runtime, None)

    async def _fixed(self, number: int) -> None:
        """A pod of a StatefulSet: mostly on another node than before, always its address."""
        runtime, pod = self._runtime(f"db-{number}"), PodName("soak", f"db-{number}")
        address: str | None = None
        while not self._stop.is_set():
            found = await self._live(runtime, pod)
            if found is not None and address not in (None, found):
                self.tally.blame(f"{pod} had {address}, and got {found}")
            address = found or address

    async def _brief(self, number: int) -> None:
        """Fixed pods of names that never come again, whose leases expire."""
        runtime, ordinal = self._runtime(f"brief-{number}"), 0
        while not self._stop.is_set():
            found = await self._live(runtime, PodName("soak", f"brief-{number}-{ordinal}"))
            self.tally.names_ended += found is not None
            ordinal += 1

    async def _restarts(self) -> None:
        """One agent after another dies, or is stopped in order, and starts again."""
        rng = random.Random(f"{self._seed}/restarts")
        while not await self._stopped(rng.uniform(*_AGENT_LIVES_S)):
            node = rng.choice(self._world.up())
            if rng.random() < 0.5:
                await node.restart()
            else:
                await node.stop()
                await node.start()
            self.tally.restarts += 1

    async def _live(self, runtime: Runtime, pod: PodName | None) -> str | None:
        """One pod's life; its address, None where it got none."""
        running = await runtime.start(self._place(runtime), pod)
        if running is not None:
            self._hold(running)
            await self._stopped(runtime.rng.uniform(*_RUNS_S))
            self._holders.pop(running.address, None)
            await runtime.stop(running)
        await self._stopped(runtime.rng.uniform(*_AWAY_S))
        return None if running is None else running.address

    def _hold(self, running: Running) -> None:
        other = self._holders.get(running.address)
        if other is not None:
            self.tally.blame(f"{running.address}: {running.sandbox} beside {other}")
        self._holders[running.address] = running.sandbox

    def _runtime(self, actor: str) -> Runtime:
        rng = random.Random(f"{self._seed}/{actor}")
        return Runtime(self._world, "soak", rng, expires_after_s=EXPIRES_AFTER_S)

    def _place(self, runtime: Runtime) -> ChaosNode:
        nodes = self._world.up()
        return runtime.rng.choice([each for each in nodes if each.is_up] or nodes)

    async def _stopped(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True
