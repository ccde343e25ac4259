"""The reaper asks before it frees: who has the name, and what the workload still wants."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.allocator.domain.leases import Lease
from services.allocator.domain.retention import Presence, WorkloadSight
from shared.addresses import AddressState
from shared.ids import PodName, WorkloadName
from shared.policies import LeasePolicy
from tests.service.allocator.test_reaper import LOOK, SPAN, World, node, world
from tests.support.lease_requests import NodeVoice, attachment, identity

__all__ = ["node", "world"]  # fixtures

WEB = WorkloadName("default", "StatefulSet", "web")
POD = PodName("default", "web-2")


async def went(world: World, by: NodeVoice, policy: LeasePolicy) -> Lease:
    """The lease of pod web-2, whose workload is known, after its end."""
    claim = by.claim("web-2", candidate="10.0.0.9", made_by=WEB)
    bound = (await world.store.acquire(claim)).lease
    assert bound is not None
    step = await world.store.retain(
        by.fence(),
        identity("web-2"),
        str(attachment("s1")),
        bound.generation,
        policy=policy,
    )
    assert step.lease is not None
    return step.lease


def there(replicas: int) -> WorkloadSight:
    return WorkloadSight(presence=Presence.PRESENT, ordinals=range(replicas))


@pytest.mark.parametrize("known", [Presence.PRESENT, Presence.UNKNOWN])
async def test_a_lease_whose_time_is_over_waits_while_a_pod_of_its_name_may_exist(
    world: World, node: NodeVoice, known: Presence, caplog: pytest.LogCaptureFixture
) -> None:
    await world.gone(node, "web-0", "10.0.0.9")
    world.workloads.others = known
    world.clocks.passed = SPAN
    await world.reaper.round()
    while_there = await world.states()

    world.workloads.others = Presence.ABSENT
    world.clocks.passed = SPAN + timedelta(seconds=11)
    await world.reaper.round()

    assert while_there == [AddressState.RETAINED]
    assert await world.states() == []
    assert ("what ends it is not known" in caplog.text) == (known is Presence.UNKNOWN)


async def test_a_lease_ends_with_its_workload_and_says_so(
    world: World, node: NodeVoice
) -> None:
    await went(world, node, LeasePolicy.CASCADE)
    world.workloads.known[WEB] = there(0)
    await world.reaper.round()
    while_there = await world.states()

    del world.workloads.known[WEB]
    world.clocks.passed = LOOK
    await world.reaper.round()

    assert while_there == [AddressState.RETAINED]
    assert await world.states() == []
    assert world.events[0].reason == "StatefulSet default/web is gone"


async def test_a_lease_ends_when_its_workload_is_scaled_below_its_ordinal(
    world: World, node: NodeVoice
) -> None:
    await went(world, node, LeasePolicy.SCALE_DOWN)
    world.workloads.known[WEB] = there(3)
    await world.reaper.round()
    while_wanted = await world.states()

    world.workloads.known[WEB] = there(2)
    world.clocks.passed = LOOK
    await world.reaper.round()

    assert while_wanted == [AddressState.RETAINED]
    assert await world.states() == []
    assert world.events[0].reason == "StatefulSet default/web was scaled below it"


async def test_a_pod_that_came_back_between_look_and_end_keeps_its_lease(
    world: World, node: NodeVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    await went(world, node, LeasePolicy.CASCADE)
    named = world.workloads.named

    async def and_meanwhile(pods: list[PodName]) -> object:
        await world.store.acquire(node.claim("web-2", uid="uid-2", sandbox="s2"))
        return await named(pods)

    monkeypatch.setattr(world.workloads, "named", and_meanwhile)
    await world.reaper.round()

    assert await world.states() == [AddressState.BOUND_FIXED]


async def test_a_lease_made_immediate_while_retained_ends_though_its_pod_comes_back(
    world: World, node: NodeVoice
) -> None:
    lease = await went(world, node, LeasePolicy.NEVER)
    world.workloads.pods[POD] = Presence.PRESENT
    await world.store.set_policy(lease.identity, timedelta(0), policy=LeasePolicy.IMMEDIATE)

    await world.reaper.round()

    assert await world.states() == []
