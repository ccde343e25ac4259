"""Tasks: the changes that were accepted and are not done yet, and how the others ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.vpc_simulator.model.effects import Effect
from services.vpc_simulator.model.enis import Eni, TaskId
from services.vpc_simulator.model.states import TaskStatus


class Change(Protocol):
    """A change under way. It holds the mutex of `enis` from its beginning to its end."""

    @property
    def enis(self) -> Sequence[Eni]: ...

    def effects(self) -> list[Effect]:
        """What the network must do before the change is done."""
        ...

    def complete(self, now: datetime) -> None:
        """The network obeys: say so."""
        ...

    def abort(self) -> list[Effect]:
        """It came to nothing: step back, and tell the network what holds again."""
        ...


@dataclass(slots=True, kw_only=True)
class Task:
    id: TaskId
    action: str
    resources: tuple[str, ...]
    began_at: datetime
    change: Change | None  # None once it has ended
    status: TaskStatus = TaskStatus.RUNNING
    output: str = ""
    ended_at: datetime | None = None
    number: int = 0  # by which the calls on EIPs name it


class TaskLog:
    """Every running task, and as many ended ones as fit."""

    def __init__(self, *, kept_max: int) -> None:
        self._tasks: OrderedDict[TaskId, Task] = OrderedDict()
        self._kept_max = kept_max
        self._by_number: dict[int, Task] = {}
        self.last_number = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def get(self, task: TaskId) -> Task | None:
        return self._tasks.get(task)

    def numbered(self, number: int) -> Task | None:
        return self._by_number.get(number)

    def begin(self, task: Task) -> None:
        assert task.id not in self._tasks, "a RequestId is used once"
        for eni in _enis(task):
            eni.lock(task.id)
        self.last_number += 1
        task.number = self.last_number
        self._tasks[task.id] = self._by_number[task.number] = task
        self._forget_oldest()

    def put_back(self, task: Task) -> None:
        """A task of a saved cloud; its ENIs are locked by it already."""
        assert all(eni.running_task == task.id for eni in _enis(task)), "it holds its ENIs"
        self._tasks[task.id] = self._by_number[task.number] = task

    def end(self, task: Task, status: TaskStatus, *, output: str, now: datetime) -> None:
        for eni in _enis(task):
            eni.unlock(task.id)
        task.change = None
        task.status = status
        task.output = output
        task.ended_at = now

    def _forget_oldest(self) -> None:
        while len(self._tasks) > self._kept_max:
            oldest = next(iter(self._tasks.values()))
            if oldest.status is TaskStatus.RUNNING:
                return
            del self._tasks[oldest.id]
            del self._by_number[oldest.number]


def _enis(task: Task) -> Sequence[Eni]:
    return task.change.enis if task.change else ()
