"""Whatever is called in whatever order, no address is on two ENIs and every count agrees."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import chain

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.vpc_simulator.model.eips import Eip
from services.vpc_simulator.model.enis import MAIN_ACCOUNT, Eni, TaskId
from services.vpc_simulator.model.failures import ApiFailure
from services.vpc_simulator.model.invariants import broken
from tests.support.small_cloud import SmallCloud

SUBNETS = st.sampled_from(["subnet-a", "subnet-a", "subnet-small", "subnet-b"])
INSTANCES = st.sampled_from(["ins-one", "ins-two", "ins-far"])
ACCOUNTS = st.sampled_from([MAIN_ACCOUNT, MAIN_ACCOUNT, "200000000002"])
SEEDS = st.integers(min_value=0, max_value=1000)


class CloudMachine(RuleBasedStateMachine):
    """Begins with two ENIs that can exchange addresses, or migrations would be rare."""

    def __init__(self) -> None:
        super().__init__()
        self.small = SmallCloud(migrates_to_detached_eni=True)
        self.small.attached("ins-one", secondary_count=3)
        self.small.attached("ins-two", secondary_count=1)
        self.running: list[TaskId] = []

    def _eni(self, seed: int) -> Eni:
        enis = [each for each in self.small.cloud.enis.values() if not each.is_primary]
        every = enis or list(self.small.cloud.enis.values())
        return every[seed % len(every)]

    def _eip(self, seed: int) -> Eip | None:
        eips = list(self.small.cloud.eips.values())
        return eips[seed % len(eips)] if eips else None

    def _try(self, call: Callable[[], TaskId], *, at_once: bool) -> None:
        """A refusal is fine; it must have changed nothing, which the invariants see."""
        before = len(self.small.cloud.tasks)
        try:
            task = call()
        except ApiFailure:
            assert len(self.small.cloud.tasks) == before
            return
        if at_once:
            self.small.settle(task)
        else:
            self.running.append(task)

    @rule(subnet=SUBNETS, count=st.integers(0, 6), at_once=st.booleans())
    def create(self, subnet: str, count: int, at_once: bool) -> None:
        self._try(lambda: self.small.create(subnet, secondary_count=count)[1], at_once=at_once)

    @rule(seed=SEEDS, instance=INSTANCES, at_once=st.booleans())
    def attach(self, seed: int, instance: str, at_once: bool) -> None:
        eni = self._eni(seed)
        self._try(lambda: self.small.attach(eni, instance), at_once=at_once)

    @rule(seed=SEEDS, at_once=st.booleans())
    def detach(self, seed: int, at_once: bool) -> None:
        eni = self._eni(seed)
        instance = eni.attachment.instance if eni.attachment else "ins-one"
        self._try(lambda: self.small.detach(eni, instance), at_once=at_once)

    @rule(seed=SEEDS, at_once=st.booleans())
    def delete(self, seed: int, at_once: bool) -> None:
        eni = self._eni(seed)
        self._try(lambda: self.small.delete(eni), at_once=at_once)

    @rule(seed=SEEDS, count=st.integers(1, 4), at_once=st.booleans())
    def assign(self, seed: int, count: int, at_once: bool) -> None:
        eni = self._eni(seed)
        self._try(lambda: self.small.assign(eni, count), at_once=at_once)

    @rule(seed=SEEDS, count=st.integers(1, 3), at_once=st.booleans())
    def unassign(self, seed: int, count: int, at_once: bool) -> None:
        eni = self._eni(seed)
        leaving = list(eni.addresses)[-count:]
        self._try(lambda: self.small.unassign(eni, leaving), at_once=at_once)

    @rule(source_seed=SEEDS, destination_seed=SEEDS, at_once=st.booleans())
    def migrate(self, source_seed: int, destination_seed: int, at_once: bool) -> None:
        source, destination = self._eni(source_seed), self._eni(destination_seed)
        moving = list(source.addresses)[-1]
        self._try(lambda: self.small.migrate(source, destination, moving), at_once=at_once)

    @rule(instance=INSTANCES, at_once=st.booleans())
    def stop(self, instance: str, at_once: bool) -> None:
        self._try(lambda: self.small.stop(instance), at_once=at_once)

    @rule(instance=INSTANCES, at_once=st.booleans())
    def start(self, instance: str, at_once: bool) -> None:
        self._try(lambda: self.small.start(instance), at_once=at_once)

    @rule(instance=st.sampled_from(["ins-two", "ins-far"]), at_once=st.booleans())
    def terminate(self, instance: str, at_once: bool) -> None:
        self._try(lambda: self.small.terminate(instance), at_once=at_once)

    @rule(instance=INSTANCES, count=st.integers(0, 6), at_once=st.booleans())
    def create_attached(self, instance: str, count: int, at_once: bool) -> None:
        self._try(
            lambda: self.small.create_attached(instance, secondary_count=count)[1],
            at_once=at_once,
        )

    @rule(seed=SEEDS, destination=INSTANCES, at_once=st.booleans())
    def move(self, seed: int, destination: str, at_once: bool) -> None:
        eni = self._eni(seed)
        source = eni.attachment.instance if eni.attachment else "ins-one"
        self._try(lambda: self.small.move(eni, source, destination), at_once=at_once)

    @rule(at_once=st.booleans())
    def allocate_eip(self, at_once: bool) -> None:
        self._try(lambda: self.small.allocate_eip()[1], at_once=at_once)

    @rule(seed=SEEDS, eip_seed=SEEDS, at_once=st.booleans())
    def associate(self, seed: int, eip_seed: int, at_once: bool) -> None:
        eni, address = self._eni(seed), list(self._eni(seed).addresses)[-1]
        if (eip := self._eip(eip_seed)) is not None:
            self._try(lambda: self.small.associate(eip, eni, address), at_once=at_once)

    @rule(seed=SEEDS, at_once=st.booleans())
    def disassociate(self, seed: int, at_once: bool) -> None:
        if (eip := self._eip(seed)) is not None:
            self._try(lambda: self.small.disassociate(eip), at_once=at_once)

    @rule(seed=SEEDS, at_once=st.booleans())
    def release_eip(self, seed: int, at_once: bool) -> None:
        if (eip := self._eip(seed)) is not None:
            self._try(lambda: self.small.release_eip(eip), at_once=at_once)

    @rule(seed=SEEDS, count=st.integers(0, 2), account=ACCOUNTS)
    def reserve(self, seed: int, count: int, account: str) -> None:
        """Addresses in use among them."""
        named = list(self._eni(seed).addresses)[-1:]
        with suppress(ApiFailure):
            self.small.reserve(*named, count=count, account=account)

    @rule(seed=SEEDS, account=ACCOUNTS)
    def unreserve(self, seed: int, account: str) -> None:
        kept = list(self.small.cloud.reservations)
        if kept:
            with suppress(ApiFailure):
                self.small.unreserve(kept[seed % len(kept)], account=account)

    @rule(seed=SEEDS, kept_seed=SEEDS, at_once=st.booleans())
    def assign_a_kept_one(self, seed: int, kept_seed: int, at_once: bool) -> None:
        kept = list(self.small.cloud.reservations.values())
        if kept:
            eni, wanted = self._eni(seed), str(kept[kept_seed % len(kept)].address)
            self._try(lambda: self.small.assign(eni, named=[wanted]), at_once=at_once)

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

            assert subnet.available == subnet.total - len(held | subnet.reserved.keys())


TestCloudMachine = CloudMachine.TestCase
TestCloudMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
