"""The network obeys before the cloud says so; a network that fails never wedges an ENI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.states import AddressState, TaskStatus
from services.vpc_simulator.ports import EniPort, NoFabric
from services.vpc_simulator.runner import TaskRunner, furnish
from shared.clock import SystemClock
from shared.ids import EniId, InstanceId
from tests.support.small_cloud import SmallCloud, secondaries


class RecordingFabric(NoFabric):
    """Remembers its ports, and fails when told to."""

    def __init__(self) -> None:
        self.ports: dict[EniId, EniPort] = {}
        self.instances: set[InstanceId] = set()
        self.history: list[EniPort] = []
        self.is_broken = False

    async def set_instance(self, instance: InstanceId) -> None:
        self.instances.add(instance)

    async def remove_instance(self, instance: InstanceId) -> None:
        self.instances.discard(instance)

    async def set_eni(self, port: EniPort) -> None:
        if self.is_broken:
            raise OSError("no such device")
        self.ports[port.eni] = port
        self.history.append(port)

    async def remove_eni(self, eni: EniId) -> None:
        self.ports.pop(eni, None)


@pytest.fixture
def small() -> SmallCloud:
    return SmallCloud()


@pytest.fixture
def fabric() -> RecordingFabric:
    return RecordingFabric()


@asynccontextmanager
async def running(small: SmallCloud, fabric: RecordingFabric) -> AsyncIterator[TaskRunner]:
    runner = TaskRunner(small.cloud, fabric, SystemClock(), at_once_max=4, effect_timeout_s=5.0)
    loop = asyncio.create_task(runner.run(), name="task-runner")
    try:
        yield runner
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await runner.drain(grace_s=1.0)


async def migration(small: SmallCloud) -> tuple[Eni, Eni]:
    source = small.attached("ins-one", secondary_count=1)
    return source, small.attached("ins-two")


async def test_the_world_at_the_start_is_in_the_network(
    small: SmallCloud, fabric: RecordingFabric
) -> None:
    await furnish(fabric, small.cloud)

    assert fabric.instances == small.cloud.instances.keys()
    assert {port.device_index for port in fabric.ports.values()} == {0}


async def test_a_migration_leaves_the_old_eni_first(
    small: SmallCloud, fabric: RecordingFabric
) -> None:
    source, destination = await migration(small)
    [moving] = secondaries(source)

    async with running(small, fabric) as runner:
        task = small.migrate(source, destination, moving)
        await runner.schedule(task, delay_s=0)

    assert [port.eni for port in fabric.history] == [source.id, destination.id]
    assert [moving in port.addresses for port in fabric.history] == [False, True]
    assert destination.addresses[moving].state is AddressState.AVAILABLE


async def test_a_network_that_fails_fails_the_task_and_frees_the_eni(
    small: SmallCloud, fabric: RecordingFabric
) -> None:
    eni = small.attached()
    fabric.is_broken = True

    async with running(small, fabric) as runner:
        failed = small.assign(eni, 1)
        await runner.schedule(failed, delay_s=0)
        fabric.is_broken = False
        repeated = small.assign(eni, 1)
        await runner.schedule(repeated, delay_s=0)

    records = [small.cloud.tasks.get(task) for task in (failed, repeated)]
    assert [record and record.status for record in records] == [
        TaskStatus.FAILED,
        TaskStatus.SUCCESS,
    ]
    assert fabric.ports[eni.id].addresses == eni.addresses.keys()


async def test_a_task_that_is_made_to_fail_leaves_the_network_as_it_was(
    small: SmallCloud, fabric: RecordingFabric
) -> None:
    eni = small.attached(secondary_count=1)
    held = set(eni.addresses)

    async with running(small, fabric) as runner:
        task = small.unassign(eni, secondaries(eni))
        await runner.schedule(task, delay_s=0, fails=True)

    assert set(eni.addresses) == held == fabric.ports[eni.id].addresses


async def test_tasks_of_a_later_time_do_not_hold_up_earlier_ones(
    small: SmallCloud, fabric: RecordingFabric
) -> None:
    late, created_late = small.create()
    _, created_soon = small.create()

    async with running(small, fabric) as runner:
        runner.schedule(created_late, delay_s=3600)
        await runner.schedule(created_soon, delay_s=0)

    assert late.running_task == created_late


async def test_a_stopped_instance_has_no_link(
    small: SmallCloud, fabric: RecordingFabric
) -> None:
    eni = small.attached("ins-one")
    await furnish(fabric, small.cloud)

    async with running(small, fabric) as runner:
        await runner.schedule(small.stop("ins-one"), delay_s=0)
        stopped = fabric.ports[eni.id].instance, "ins-one" in fabric.instances
        await runner.schedule(small.start("ins-one"), delay_s=0)

    assert stopped == (None, False)
    assert fabric.ports[eni.id].instance == "ins-one"
