"""Repair in rounds: woken by the kernel's notices of change, and every few seconds without."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from shared.kernel.changes import Changes, Kind
from shared.runtime.loops import Loops

from .composition import Agent
from .config import NodeAgentSettings
from .domain.attachments import is_pod_link

_GAP_S: Final = 0.5
_SHARE: Final = 20  # whoever changes things all the time: it takes no more than this part


def keep_repairing(
    agent: Agent, settings: NodeAgentSettings, loops: Loops, *, own: Collection[int]
) -> Changes:
    """In the node's namespace; `own` are the ports of the agent's own conversations. The
    caller closes what is returned."""
    changes = Changes(
        Kind.LINK,
        Kind.ADDRESS,
        Kind.ROUTE,
        Kind.RULE,
        own=own,
        is_expected=is_pod_link,  # made and deleted all the time; the interval looks at them
    )

    async def repair() -> None:
        changes.changed.clear()
        began_s = agent.clock.monotonic_s()
        agent.repairer.round()
        took_s = agent.clock.monotonic_s() - began_s
        await asyncio.sleep(max(_GAP_S, _SHARE * took_s))

    loops.every("repair", repair, interval_s=settings.repair_interval_s, wake=changes.changed)
    return changes
