"""What goes on in the cluster while it is broken: one function each, until it is told to stop.

Each actor draws from a generator of its own, so that a seed repeats its decisions whatever the
others do. What runs at the end stays, so that the books can be compared with it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from shared.ids import PodName
from tests.chaos.nodes import ChaosNode
from tests.chaos.runtime import Running, Runtime, to_its_end
from tests.chaos.world import World

EXPIRES_AFTER_S: Final = 2.0
_PAUSE_S: Final = (0.02, 0.15)
_ACTORS: Final = 6
_NODES_UP_MIN: Final = 2


class Stage:
    """Where a workload runs, and how long."""

    def __init__(self, world: World, name: str, seed: str) -> None:
        self.world = world
        self._name = name
        self._seed = seed
        self._runtimes: dict[str, Runtime] = {}
        self.expires_after_s: float | None = None
        self.is_over = False
        self.left: list[Running] = []  # what runs at the end, and stays

    def runtime(self, actor: str) -> Runtime:
        """Of this actor: the same one each time, so that no id is drawn twice."""
        if actor not in self._runtimes:
            rng = random.Random(f"{self._seed}/{actor}")
            self._runtimes[actor] = Runtime(
                self.world, self._name, rng, expires_after_s=self.expires_after_s
            )
        found = self._runtimes[actor]
        found.is_stopping = self.is_over
        return found

    async def ended(self, runtime: Runtime, running: Running) -> bool:
        """Delete the pod, unless the workload is over: then it stays."""
        if self.is_over:
            self.left.append(running)
            return False
        await runtime.stop(running)
        return True

    async def clear(self, left: list[Running]) -> None:
        """Delete what an earlier workload left."""
        runtime = self.runtime("clear")
        for each in left:
            await runtime.stop(each)

    def end(self) -> None:
        self.is_over = True
        for each in self._runtimes.values():
            each.is_stopping = True


Workload = Callable[[Stage], Awaitable[None]]


async def _pause(runtime: Runtime) -> None:
    await asyncio.sleep(runtime.rng.uniform(*_PAUSE_S))


def _place(runtime: Runtime) -> ChaosNode:
    return runtime.rng.choice(runtime.world.up())


async def _together(*actors: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in actors:
            group.create_task(to_its_end(each))


async def immediate_churn(stage: Stage) -> None:
    """Pods of no fixed address come and go."""

    async def actor(number: int) -> None:
        runtime = stage.runtime(f"immediate-{number}")
        while not stage.is_over:
            running = await runtime.start(_place(runtime))
            await _pause(runtime)
            if running is not None:
                await stage.ended(runtime, running)

    await _together(*(actor(number) for number in range(_ACTORS)))


async def stateful_set(stage: Stage) -> None:
    """Each pod is deleted and made again, mostly on another node."""

    async def pod(ordinal: int) -> None:
        runtime, name = stage.runtime(f"db-{ordinal}"), PodName("chaos", f"db-{ordinal}")
        while not stage.is_over:
            running = await runtime.until_started(_place(runtime), name)
            await _pause(runtime)
            if running is not None:
                await stage.ended(runtime, running)

    await _together(*(pod(ordinal) for ordinal in range(_ACTORS)))


async def scaling(stage: Stage) -> None:
    """A StatefulSet grows to the largest size and shrinks to nothing, its highest pod first."""
    runtime = stage.runtime("scaling")
    running: dict[int, Running] = {}

    async def start(ordinal: int) -> None:
        pod = PodName("chaos", f"scaled-{ordinal}")
        found = await stage.runtime(f"scaled-{ordinal}").until_started(_place(runtime), pod)
        if found is not None:
            running[ordinal] = found

    while not stage.is_over:
        size = runtime.rng.randrange(2 * _ACTORS)
        await _together(*(start(each) for each in range(size) if each not in running))
        for ordinal in sorted((each for each in running if each >= size), reverse=True):
            await stage.ended(runtime, running.pop(ordinal))
        await _pause(runtime)
    stage.left += running.values()


async def node_turnover(stage: Stage) -> None:
    """Nodes join and are terminated while pods of both kinds run on them."""
    runtime = stage.runtime("turnover")

    async def turn() -> None:
        while not stage.is_over:
            await asyncio.sleep(runtime.rng.uniform(1.5, 3.0))
            spare = runtime.world.spare()
            if stage.is_over or spare is None:
                return
            await runtime.world.join(*spare)
            up = runtime.world.up()
            if len(up) > _NODES_UP_MIN:
                await runtime.world.terminate(runtime.rng.choice(up[:-1]))

    await _together(turn(), immediate_churn(stage), stateful_set(stage))


async def expiry(stage: Stage) -> None:
    """Pods stay away longer than their leases wait, or just not."""
    stage.expires_after_s = EXPIRES_AFTER_S

    async def pod(ordinal: int) -> None:
        runtime, name = stage.runtime(f"brief-{ordinal}"), PodName("chaos", f"brief-{ordinal}")
        while not stage.is_over:
            running = await runtime.until_started(_place(runtime), name)
            await _pause(runtime)
            if running is not None:
                await stage.ended(runtime, running)
            if runtime.rng.random() < 0.5:
                await asyncio.sleep(runtime.rng.uniform(0.2, 1.5) * EXPIRES_AFTER_S)

    await _together(*(pod(ordinal) for ordinal in range(_ACTORS)))


async def releases(stage: Stage) -> None:
    """An operator ends leases of pods that are away, and of some that are back already."""

    async def pod(ordinal: int) -> None:
        runtime, name = stage.runtime(f"freed-{ordinal}"), PodName("chaos", f"freed-{ordinal}")
        while not stage.is_over:
            running = await runtime.until_started(_place(runtime), name)
            await _pause(runtime)
            went = running is not None and await stage.ended(runtime, running)
            if went and runtime.rng.random() < 0.6:
                await runtime.release(name)

    await _together(*(pod(ordinal) for ordinal in range(_ACTORS)))


WORKLOADS: Final[dict[str, Workload]] = {
    "immediate": immediate_churn,
    "stateful": stateful_set,
    "scaling": scaling,
    "turnover": node_turnover,
    "expiry": expiry,
    "releases": releases,
}
"""By the names that the table shows."""
SETTINGS: Final[dict[str, dict[str, str]]] = {
    "expiry": {"BERTH_ALLOCATOR_DEFAULT_EXPIRES_AFTER_S": str(EXPIRES_AFTER_S)},
}
"""Of the services, where a workload needs its own."""
