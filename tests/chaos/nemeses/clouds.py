"""A cloud that refuses, dawdles, forgets to answer; machines and wires that vanish."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from tests.chaos.history import FaultUnderWay
from tests.chaos.nemeses.spans import CUT_OFF_S, for_a_while
from tests.chaos.world import World

_CHANGES: Final = (
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
    "MigratePrivateIpAddress",
    "CreateNetworkInterface",
    "AttachNetworkInterface",
)
_LOOKS: Final = ("DescribeNetworkInterfaces", "DescribeInstances")
_HELD_MS: Final = 1200  # longer than most answers, shorter than a call is feared
_COUNT: Final = 4
_NODES_UP_MIN: Final = 3


async def _trouble(
    world: World,
    rng: random.Random,
    fault: FaultUnderWay,
    kinds: Sequence[str],
    actions: Sequence[str],
) -> None:
    posted = {}
    for action in actions:
        posted[action] = rng.randrange(1, _COUNT)
        await _post(world, action, rng.choice(list(kinds)), posted[action])
    await for_a_while(rng, CUT_OFF_S)
    for action, count in posted.items():
        left = await _post(world, action, kinds[0], 1) - 1
        fault.touch(max(0, count - left))
    await world.cloud.admin("DELETE", "faults")


async def _post(world: World, action: str, kind: str, count: int) -> int:
    """How many faults now wait for calls of this action."""
    fault = {"action": action, "kind": kind, "count": count, "hold_ms": _HELD_MS}
    status, told = await world.cloud.admin("POST", "faults", fault)
    assert status == 200, told
    waiting = told["waiting"]
    assert isinstance(waiting, int), told
    return waiting


async def throttled_cloud(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    fault.what = "the cloud throttles"
    await _trouble(world, rng, fault, ("throttle",), (*_CHANGES, *_LOOKS))


async def slow_cloud(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Answers and changes take their time."""
    fault.what = "the cloud is slow"
    await _trouble(world, rng, fault, ("delay", "stuck"), _CHANGES)
    if not fault.touched:
        await _trouble(world, rng, fault, ("delay",), _LOOKS)


async def silent_cloud(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """No answer, whether it was done before or not at all."""
    fault.what = "the cloud does not answer"
    kinds = ("timeout_after", "timeout_before")
    await _trouble(world, rng, fault, kinds, (*_CHANGES, *_LOOKS))


async def failing_cloud(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Refusals out of the blue, and changes that were accepted and fail."""
    fault.what = "the cloud fails"
    await _trouble(world, rng, fault, ("internal_error", "task_failed"), _CHANGES)
    await _trouble(world, rng, fault, ("internal_error",), _LOOKS)


async def lying_cloud(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Looks show what was, what only will be, or not all of what is."""
    fault.what = "the cloud tells what is not so"
    await _trouble(world, rng, fault, ("stale", "premature", "gaps"), _LOOKS)


async def lost_machine(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """An instance is terminated; another one joins."""
    up = world.up()
    spare = world.spare()
    if spare is not None:
        await world.join(*spare)
    if len(up) >= _NODES_UP_MIN:
        node = rng.choice(up)
        fault.what = f"the instance of {node.name} is terminated"
        fault.touch()
        await world.terminate(node)
    await for_a_while(rng, CUT_OFF_S)


async def broken_wires(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Routes and rules of pods are deleted behind the agents' backs."""
    fault.what = "wires are broken"
    for node in world.up():
        fault.touch(node.break_wire(rng))
    await for_a_while(rng, (0.3, 1.0))
