"""berth-vpc-simulator: builds the cloud, serves it, and takes it all away again at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from services.vpc_simulator.config import SimulatorSettings, parse_settings
from services.vpc_simulator.ports import Fabric, NoFabric
from services.vpc_simulator.runner import furnish
from services.vpc_simulator.server import World, build_app, build_world
from services.vpc_simulator.topology import load_topology
from shared.clock import SystemClock
from shared.errors import BerthError, InvalidInput, Unavailable

log = logging.getLogger(__name__)


def main() -> None:
    """The console script. Expected failures are one line on stderr and exit status 1."""
    try:
        settings = parse_settings(sys.argv[1:], os.environ)
        logging.basicConfig(level=settings.log_level.upper())
        asyncio.run(run(settings))
    except BerthError as error:
        sys.stderr.write(f"berth-vpc-simulator: {error}\n")
        sys.exit(1)


async def run(settings: SimulatorSettings) -> None:
    """Serve until SIGTERM or SIGINT. Closed in the reverse of the order it was opened in."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)

    async with serving(settings) as url:
        log.info("serving", extra={"url": url})
        await stop.wait()
        log.info("stopping")


@asynccontextmanager
async def serving(settings: SimulatorSettings) -> AsyncIterator[str]:
    """The cloud, answering at the URL that is yielded."""
    topology = load_topology(settings.topology)
    secrets = settings.secrets()
    host, port = settings.address()
    async with AsyncExitStack() as stack:
        fabric = await open_fabric(settings)
        stack.push_async_callback(fabric.aclose)

        world = build_world(topology, fabric, settings, secrets, SystemClock())
        await furnish(fabric, world.cloud)
        await stack.enter_async_context(_running(world, settings))

        url = await stack.enter_async_context(_listening(world, settings, host, port))
        if settings.ready_file is not None:
            _write_whole(settings.ready_file, json.dumps({"url": url, "pid": os.getpid()}))
            stack.callback(settings.ready_file.unlink, missing_ok=True)
        yield url
        world.is_ready = False


async def open_fabric(settings: SimulatorSettings) -> Fabric:
    """The network behind the cloud."""
    if settings.wireless:
        return NoFabric()
    raise InvalidInput("this build has no network behind its cloud: start it with --wireless")


@asynccontextmanager
async def _running(world: World, settings: SimulatorSettings) -> AsyncIterator[None]:
    """Tasks are carried out; at the end those under way are finished."""
    runner = asyncio.create_task(world.runner.run(), name="task-runner")
    try:
        yield
    finally:
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        await world.runner.drain(grace_s=settings.drain_grace_s)


@asynccontextmanager
async def _listening(
    world: World, settings: SimulatorSettings, host: str, port: int
) -> AsyncIterator[str]:
    runner = web.AppRunner(
        build_app(world, settings),
        access_log=None,
        shutdown_timeout=settings.drain_grace_s,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from error
        bound = runner.addresses[0]
        yield f"http://{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()


def _write_whole(path: Path, text: str) -> None:
    """Whoever sees the file sees all of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    main()
