"""A folder to run the command line in, and what is left of it taken away."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest

from berth.demo.world import World
from berth.operator import open_operator
from berth.playground.playground import Playground, StartOptions, ignore
from berth.playground.topology import default_topology
from tests.support.berth_command import Berth
from tests.support.played_node import PlayedNode


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: those of Unix sockets are limited to 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="berth-e2e-"))
    try:
        yield folder / "run"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def berth(run_dir: Path) -> AsyncIterator[Berth]:
    command = Berth(run_dir=run_dir, started=[])
    try:
        yield command
        if (run_dir / "playground.json").exists():
            await command.run("down")
    finally:
        for process in command.started:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                await process.wait()


@pytest.fixture
async def playground(run_dir: Path) -> AsyncIterator[Playground]:
    started = await Playground.start(
        run_dir=run_dir,
        topology=default_topology(),
        options=StartOptions(cooling_s=1.0),
        report=ignore,
    )
    try:
        yield started
    finally:
        await started.stop()


@pytest.fixture
async def played(playground: Playground) -> AsyncIterator[PlayedNode]:
    node = await PlayedNode.boot(playground, "node-1")
    try:
        yield node
    finally:
        await node.stop()


@pytest.fixture
async def world(playground: Playground) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(open_operator(playground.state))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(state=playground.state, bus=bus, http=http)
