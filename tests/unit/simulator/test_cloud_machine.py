"""Whatever is called in whatever order, no address is on two ENIs and every count agrees."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import chain

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.vpc_simulator.model.enis import Eni, TaskId
from services.vpc_simulator.model.failures import ApiFailure
from services.vpc_simulator.model.invariants import broken
from tests.support.small_cloud import SmallCloud

SUBNETS = st.sampled_from(["subnet-a", "subnet-small", "subnet-b"])
INSTANCES = st.sampled_from(["ins-one", "ins-two", "ins-far"])
SEEDS = st.integers(min_value=0, max_value=1000)


class CloudMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.small = SmallCloud(migrates_to_detached_eni=True)
        self.running: list[TaskId] = []

    def _enis(self, seed: int, count: int) -> list[Eni]:
        rng = random.Random(seed)
        enis = list(self.small.cloud.enis.values())
        return rng.choices(enis, k=count) if enis else []

    def _try(self, call: Callable[[], TaskId]) -> None:
        """A refusal is fine; it must have changed nothing, which the invariants see."""
        before = len(self.small.cloud.tasks)
        try:
            self.running.append(call())
        except ApiFailure:
            assert len(self.small.cloud.tasks) == before

    @rule(subnet=SUBNETS, count=st.integers(0, 6))
    def create(self, subnet: str, count: int) -> None:
        self._try(lambda: self.small.create(subnet, secondary_count=count)[1])

    @rule(seed=SEEDS, instance=INSTANCES)
    def attach(self, seed: int, instance: str) -> None:
        for eni in self._enis(seed, 1):
            self._try(lambda eni=eni: self.small.attach(eni, instance))  # type: ignore[misc]

    @rule(seed=SEEDS, instance=INSTANCES)
    def detach(self, seed: int, instance: str) -> None:
        for eni in self._enis(seed, 1):
            self._try(lambda eni=eni: self.small.detach(eni, instance))  # type: ignore[misc]

    @rule(seed=SEEDS)
    def delete(self, seed: int) -> None:
        for eni in self._enis(seed, 1):
            self._try(lambda eni=eni: self.small.delete(eni))  # type: ignore[misc]

    @rule(seed=SEEDS, count=st.integers(1, 4))
    def assign(self, seed: int, count: int) -> None:
        for eni in self._enis(seed, 1):
            self._try(lambda eni=eni: self.small.assign(eni, count))  # type: ignore[misc]

    @rule(seed=SEEDS, count=st.integers(1, 3))
    def unassign(self, seed: int, count: int) -> None:
        for eni in self._enis(seed, 1):
            leaving = list(eni.addresses)[-count:]
            self._try(
                lambda eni=eni, leaving=leaving: self.small.unassign(eni, leaving)  # type: ignore[misc]
            )

    @rule(seed=SEEDS)
    def migrate(self, seed: int) -> None:
        if pair := self._enis(seed, 2):
            source, destination = pair
            moving = random.Random(seed).choice(list(source.addresses))
            self._try(lambda: self.small.migrate(source, destination, moving))

    @rule(instance=INSTANCES)
    def stop(self, instance: str) -> None:
        self._try(lambda: self.small.stop(instance))

    @rule(instance=INSTANCES)
    def start(self, instance: str) -> None:
        self._try(lambda: self.small.start(instance))

    @rule(instance=INSTANCES)
    def terminate(self, instance: str) -> None:
        self._try(lambda: self.small.terminate(instance))

    @rule(seed=SEEDS, succeeds=st.booleans())
    def end_a_task(self, seed: int, succeeds: bool) -> None:
        if self.running:
            task = self.running.pop(seed % len(self.running))
            if succeeds:
                self.small.settle(task)
            else:
                self.small.fail(task)

    @invariant()
    def nothing_is_broken(self) -> None:
        assert broken(self.small.cloud) == []

    @invariant()
    def only_running_tasks_hold_enis(self) -> None:
        held = {eni.running_task for eni in self.small.cloud.enis.values()} - {None}

        assert held <= set(self.running)

    @invariant()
    def counts_agree(self) -> None:
        for subnet in self.small.cloud.subnets.values():
            enis = [each for each in self.small.cloud.enis.values() if each.subnet == subnet.id]
            held = set(chain.from_iterable(each.addresses for each in enis))

            assert subnet.available == subnet.total - len(held)


TestCloudMachine = CloudMachine.TestCase
TestCloudMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
