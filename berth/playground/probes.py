"""How the playground tells that a child serves, each by the child's own word."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

import aiohttp

from berth.playground.ports import LOOPBACK
from berth.playground.processes import Probe
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.errors import BerthError
from shared.ids import NodeName
from shared.messages.clusters import NODE_LIST, NodeListRequest
from shared.messages.nodes import AGENT_INVENTORY, InventoryRequest

_ASK_S: Final = 1.0


def http_ready(port: int) -> Probe:
    """``/readyz`` answers 200; until then its body tells what is missing."""
    url = f"http://{LOOPBACK}:{port}/readyz"

    async def ask(words: str) -> str | None:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_S)) as session,
                session.get(url) as answer,
            ):
                body = await answer.text()
                return None if answer.status == 200 else "; ".join(body.splitlines())
        except (aiohttp.ClientError, TimeoutError):
            return f"{url} does not answer"

    return ask


def agent_ready(bus: BusClient, node: NodeName, configuration: Path) -> Probe:
    """The agent answers for its node on the bus, and has installed its CNI configuration."""

    async def ask(words: str) -> str | None:
        deadline = SystemClock().now() + timedelta(seconds=_ASK_S)
        try:
            await bus.call(
                AGENT_INVENTORY, InventoryRequest(node=node, deadline=deadline), node
            )
        except BerthError as error:
            return str(error)
        return None if configuration.exists() else await _problem(bus, node)

    return ask


async def _problem(bus: BusClient, node: NodeName) -> str:
    """Why no ENI of the node carries pods yet, as far as the eni_manager can tell."""
    deadline = SystemClock().now() + timedelta(seconds=_ASK_S)
    try:
        listed = await bus.call(NODE_LIST, NodeListRequest(node=node, deadline=deadline))
    except BerthError as error:
        return str(error)
    problems = [each.problem for each in listed.nodes if each.problem is not None]
    return problems[0] if problems else "no ENI of the node carries pods yet"


def file_ready(file: Path) -> Probe:
    """The child has written this file."""

    async def ask(words: str) -> str | None:
        return None if file.exists() else f"{file.name} is not there yet"

    return ask


def both(first: Probe, second: Probe) -> Probe:
    async def ask(words: str) -> str | None:
        return await first(words) or await second(words)

    return ask
