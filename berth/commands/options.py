"""Options that several commands share, and how a command asks the bus."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from berth.operator import open_operator, operator_settings
from berth.playground.state import default_playground_dir
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.errors import InvalidInput
from shared.ids import PodName
from shared.messages.base import Endpoint

Answer = TypeVar("Answer")

RunDir = Annotated[
    Path,
    typer.Option(
        "--run-dir",
        default_factory=default_playground_dir,
        show_default=False,
        help="The playground's folder.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")]
PodArgument = Annotated[
    str, typer.Argument(metavar="NAMESPACE/POD", help="The pod; default/ may be left out.")
]


def ask(run_dir: Path, question: Callable[[BusClient], Awaitable[Answer]]) -> Answer:
    """Connect as an operator and ask. Raises in one line when nobody answers."""

    async def connected() -> Answer:
        async with open_operator(operator_settings(run_dir)) as bus:
            return await question(bus)

    return asyncio.run(connected())


def deadline_of(endpoint: Endpoint[Any, Any]) -> datetime:
    return SystemClock().now() + timedelta(seconds=endpoint.timeout_s)


def who() -> str:
    """Who asks, for the audit."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return f"uid {os.getuid()}@{socket.gethostname()}"


def parse_pod(text: str) -> PodName:
    namespace, slash, name = text.rpartition("/")
    if not name or (slash and not namespace) or "/" in namespace:
        raise InvalidInput.of("pod", text, "NAMESPACE/POD, such as default/busybox-1")
    return PodName(namespace or "default", name)
