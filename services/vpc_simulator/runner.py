"""Carries out tasks when they are due: the network first, then the model says it is so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.effects import (
    Effect,
    RemoveEni,
    RemoveInstance,
    SetEni,
    SetInstance,
)
from services.vpc_simulator.model.enis import TaskId
from services.vpc_simulator.ports import Fabric
from shared.clock import Clock

log = logging.getLogger(__name__)


class TaskRunner:
    """Holds what is due and when. Tasks never disturb each other: each locks its ENIs."""

    def __init__(
        self,
        cloud: Cloud,
        fabric: Fabric,
        clock: Clock,
        *,
        at_once_max: int,
        effect_timeout_s: float,
    ) -> None:
        self._cloud = cloud
        self._fabric = fabric
        self._clock = clock
        self._effect_timeout_s = effect_timeout_s
        self._slots = asyncio.Semaphore(at_once_max)
        self._due: list[tuple[float, int, TaskId, bool]] = []
        self._order = itertools.count()  # equal times keep the order of their calls
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._ends: dict[TaskId, asyncio.Future[None]] = {}

    def schedule(
        self, task: TaskId, *, delay_s: float, fails: bool = False
    ) -> asyncio.Future[None]:
        """Carry the task out later; the future is done when the task has ended."""
        due_s = self._clock.monotonic_s() + delay_s
        heapq.heappush(self._due, (due_s, next(self._order), task, fails))
        self._ends[task] = asyncio.get_running_loop().create_future()
        self._changed.set()
        return self._ends[task]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            now_s = self._clock.monotonic_s()
            while self._due and self._due[0][0] <= now_s:
                _, _, task, fails = heapq.heappop(self._due)
                self._start(task, fails=fails)
            wait_s = self._due[0][0] - now_s if self._due else None
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def drain(self, *, grace_s: float) -> None:
        """Finish what has begun; what is not due yet never happens."""
        self._due.clear()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        cut_off = list(self._running)
        for task in cut_off:
            task.cancel()
        await asyncio.gather(*cut_off, return_exceptions=True)

    def _start(self, task: TaskId, *, fails: bool) -> None:
        running = asyncio.create_task(self._carry_out(task, fails=fails), name=f"task-{task}")
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _carry_out(self, task: TaskId, *, fails: bool) -> None:
        async with self._slots:
            if fails:
                await self._undo(task, "The task was made to fail.")
            else:
                await self._apply(task)
        self._ends.pop(task).set_result(None)

    async def _apply(self, task: TaskId) -> None:
        try:
            async with asyncio.timeout(self._effect_timeout_s):
                for effect in self._cloud.effects(task):
                    await _obey(self._fabric, effect)
        except Exception:  # whatever a network may do, its task must end and free its ENIs
            log.exception("the network did not obey", extra={"task": task})
            await self._undo(task, "The network did not obey.")
        else:
            self._cloud.complete(task, now=self._clock.now())

    async def _undo(self, task: TaskId, reason: str) -> None:
        undo = self._cloud.fail(task, reason=reason, now=self._clock.now())
        try:
            async with asyncio.timeout(self._effect_timeout_s):
                for effect in undo:
                    await _obey(self._fabric, effect)
        except Exception:  # the next change of the same ENI sets it whole again
            log.exception("the network could not be set back", extra={"task": task})


async def furnish(fabric: Fabric, cloud: Cloud) -> None:
    """Make the network as the model has it at the start."""
    for subnet in cloud.subnets.values():
        await fabric.set_subnet(subnet.id, subnet.cidr, subnet.gateway)
    for instance in cloud.instances.values():
        if instance.has_network:
            await fabric.set_instance(instance.id)
    for eni in cloud.enis.values():
        await fabric.set_eni(eni.port(cloud.link_of(eni)))


async def _obey(fabric: Fabric, effect: Effect) -> None:
    match effect:
        case SetEni(port):
            await fabric.set_eni(port)
        case RemoveEni(eni):
            await fabric.remove_eni(eni)
        case SetInstance(instance):
            await fabric.set_instance(instance)
        case RemoveInstance(instance):
            await fabric.remove_instance(instance)
