"""An eni_manager stopped at each single call that changes the cloud, while another takes over.

Killed right after the call, before its answer; or frozen before it, and woken once the other
one has finished, so that the call of the lost term arrives late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest

from tests.support.cloud_gate import Stop, cloud_gate
from tests.support.eni_books import disagreements, live
from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer
from tests.support.standin_agent import StandInAgent

WAIT_S: Final = 40.0
_NODES: Final = (("node-1", "ins-one"), ("node-2", "ins-two"))


@dataclass(kw_only=True)
class Cast:
    world: EniWorld
    agents: list[StandInAgent]
    fixed: IPv4Address | None = None  # of the lease that moves


Part = Callable[[Cast], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Story:
    """What is so before, what is done, and which changing calls that takes, in order."""

    before: Part
    act: Part
    calls: tuple[str, ...]
    nodes: int = 1
    settings: dict[str, object] = field(default_factory=dict)
    change: Callable[[dict[str, object]], None] = lambda _: None  # of the cloud's topology
    is_parked: bool = False  # the lease's address is on no node in the end


async def play_story(
    servers: tuple[NatsServer, RedisServer],
    folder: Path,
    story: Story,
    stop: Stop | None,
    at: int,
) -> None:
    """The story with its eni_manager stopped at one call; then the books must agree."""
    async with (
        eni_world(
            *servers,
            folder,
            change=story.change,
            cloud_in_flight_max_s=1.0,
            cloud_timeout_s=20.0,
            **story.settings,  # type: ignore[arg-type] # names that mypy cannot see
        ) as world,
        cloud_gate(world.cloud.url) as (gate, url),
    ):
        world.settings["cloud_url"] = url
        first = await world.process()
        agents = [await world.agent(*names) for names in _NODES[: story.nodes]]
        cast = Cast(world=world, agents=agents)
        await story.before(cast)
        before = live(agents)
        gate.arm(stop, at, first)

        acting = asyncio.ensure_future(story.act(cast))
        if stop is not None:
            async with asyncio.timeout(WAIT_S):
                await gate.stopped.wait()
            await world.process()
        await acting
        if stop is Stop.FREEZE_BEFORE:
            gate.let_late_call_through()
            await gate.late_answer

        told: list[str] = []

        async def is_consistent() -> bool:
            for agent in agents:
                await agent.want_quietly()
            parked = frozenset({str(cast.fixed)} if story.is_parked else ())
            told[:] = await disagreements(world, agents, parked=parked)
            return not told

        try:
            await eventually(is_consistent)
        except (AssertionError, TimeoutError):
            pytest.fail(f"{stop} {at} ({gate.calls}): {told}")
        assert before <= live(agents)
        if stop is None:
            # What follows is warmth that was taken along.
            assert tuple(gate.calls[: len(story.calls)]) == story.calls
        else:
            assert gate.calls[at] == story.calls[at]
