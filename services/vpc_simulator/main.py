"""berth-vpc-simulator: builds the cloud, serves it, and takes it all away again at the end."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from services.vpc_simulator.config import SimulatorSettings
from services.vpc_simulator.fabric.namespace_fabric import NamespaceFabric
from services.vpc_simulator.fabric.offers import RelayWanted
from services.vpc_simulator.ports import Fabric, NoFabric
from services.vpc_simulator.runner import furnish
from services.vpc_simulator.server import World, build_app, build_world
from services.vpc_simulator.topology import load_topology
from shared.clock import SystemClock
from shared.errors import InvalidInput, Unavailable
from shared.runtime.lifecycle import run_service, service_parser
from shared.runtime.loops import Loops
from shared.telemetry.health import HealthServer, parse_listen

log = logging.getLogger(__name__)

_PROGRAM: Final = "berth-vpc-simulator"


def main() -> None:
    """The console script. What is said on the command line beats environment and file."""
    given = vars(_parser().parse_args())
    config: Path | None = given.pop("config")
    said = {name: value for name, value in given.items() if value is not None}

    async def serve(settings: SimulatorSettings, stop: asyncio.Event) -> None:
        await serve_until(settings.model_copy(update=said), stop)

    sys.exit(run_service(_PROGRAM, config, SimulatorSettings, serve))


def _parser() -> argparse.ArgumentParser:
    parser = service_parser(
        _PROGRAM,
        "A VPC on one machine: the cloud's own API over HTTP, and a network that obeys it."
        " Credentials come from BERTH_SIMULATOR_SECRET_ID and _KEY or"
        " BERTH_SIMULATOR_SECRET_FILE.",
    )
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="where the API answers")
    parser.add_argument("--topology", type=Path, metavar="FILE", help="YAML: the cloud")
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="JSON: loaded if there, saved at the end"
    )
    parser.add_argument(
        "--wireless", action="store_true", default=None, help="the API alone, no network"
    )
    parser.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="written when the API answers"
    )
    return parser


async def serve_until(settings: SimulatorSettings, stop: asyncio.Event) -> None:
    async with serving(settings) as url:
        log.info("serving", extra={"url": url})
        await stop.wait()
        log.info("stopping")


@asynccontextmanager
async def serving(settings: SimulatorSettings) -> AsyncIterator[str]:
    """The cloud, answering at the URL that is yielded; closed in reverse of its opening."""
    topology = load_topology(settings.topology_file())
    if topology.more_vpcs and not settings.wireless:
        raise InvalidInput.of(
            "topology: more_vpcs",
            len(topology.more_vpcs),
            "none but with --wireless: they have no network",
        )
    secrets = settings.secrets()
    async with AsyncExitStack() as stack:
        network = await open_network(settings)
        fabric: Fabric = network if network is not None else NoFabric()
        stack.push_async_callback(fabric.aclose)

        relays = network.relays if network is not None else lambda _: ()
        world = build_world(topology, fabric, settings, secrets, SystemClock(), relays)
        if network is not None:
            network.offer(relays=_relays(settings), metadata=world.metadata.handle)
        health = HealthServer(world.readiness)
        await health.start(settings.health_listen)
        stack.push_async_callback(health.aclose)

        await furnish(fabric, world.cloud)
        if settings.state is not None:
            stack.callback(world.save_state)  # once nothing changes any more
        await stack.enter_async_context(_carrying_out(world, settings))
        url = await stack.enter_async_context(_listening(world, settings))
        stack.callback(world.readiness.clear, "api", "stopping")
        world.readiness.set("api")
        if settings.ready_file is not None:
            ready = {
                "url": url,
                "health_port": health.port,
                "pid": os.getpid(),
                "instances": _doors(network),
            }
            _write_whole(settings.ready_file, json.dumps(ready))
            stack.callback(settings.ready_file.unlink, missing_ok=True)
        yield url


async def open_network(settings: SimulatorSettings) -> NamespaceFabric | None:
    """The network behind the cloud; None in the wireless mode."""
    return None if settings.wireless else await NamespaceFabric.open(settings.run_dir)


def _relays(settings: SimulatorSettings) -> list[RelayWanted]:
    return [
        RelayWanted(listen=parse_listen(each.listen), target=parse_listen(each.target))
        for each in settings.relays
    ]


def _doors(network: NamespaceFabric | None) -> dict[str, dict[str, object]]:
    """The way into each instance: a process that holds its namespace, and that one's path."""
    if network is None:
        return {}
    places = network.namespaces
    return {
        instance: {"pid": places.pid, "netns": path}
        for instance, path in places.instances.items()
    }


@asynccontextmanager
async def _carrying_out(world: World, settings: SimulatorSettings) -> AsyncIterator[None]:
    """Tasks are carried out; at the end those under way are finished."""
    try:
        async with Loops(random.Random()) as loops:
            loops.keep("task-runner", world.runner.run)
            yield
    finally:
        await world.runner.drain(grace_s=settings.drain_grace_s)


@asynccontextmanager
async def _listening(world: World, settings: SimulatorSettings) -> AsyncIterator[str]:
    host, port = parse_listen(settings.listen)
    runner = web.AppRunner(
        build_app(world, settings), access_log=None, shutdown_timeout=settings.drain_grace_s
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise Unavailable(f"listen {settings.listen}: cannot listen: {reason}") from error
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
