"""The cloud and its faces as one thing that can be served: the parts, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from services.vpc_simulator.api.actions import Answer
from services.vpc_simulator.api.admin import Admin
from services.vpc_simulator.api.gateway import Gateway, GatewayLimits, Weather
from services.vpc_simulator.api.metadata import Metadata
from services.vpc_simulator.config import Secrets, SimulatorSettings
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.enis import TaskId
from services.vpc_simulator.model.tokens import ClientTokens
from services.vpc_simulator.population import empty_cloud, populate
from services.vpc_simulator.ports import Fabric
from services.vpc_simulator.relay import RelaysOf
from services.vpc_simulator.runner import TaskRunner
from services.vpc_simulator.saved.world import load, save
from services.vpc_simulator.topology import (
    Topology,
    call_latencies,
    effect_latencies,
    rates,
)
from services.vpc_simulator.weather import Faults
from shared.clock import Clock
from shared.errors import InvalidInput
from shared.telemetry.health import Readiness


@dataclass(slots=True, kw_only=True)
class World:
    cloud: Cloud
    runner: TaskRunner
    gateway: Gateway
    metadata: Metadata
    admin: Admin
    readiness: Readiness
    save_state: Callable[[], None]


def build_world(
    topology: Topology,
    fabric: Fabric,
    settings: SimulatorSettings,
    secrets: Secrets,
    clock: Clock,
    relays: RelaysOf,
) -> World:
    tokens = ClientTokens[Answer](kept_max=settings.client_tokens_kept_max)
    cloud, unfinished = _open_cloud(topology, settings, tokens, clock)
    runner = TaskRunner(
        cloud,
        fabric,
        clock,
        at_once_max=settings.effects_at_once_max,
        effect_timeout_s=settings.effect_timeout_s,
    )
    weather = Weather(
        calls=call_latencies(topology),
        effects=effect_latencies(topology),
        rates=rates(topology),
        faults=Faults(waiting_max=settings.faults_waiting_max),
    )
    gateway = Gateway(
        cloud,
        runner,
        weather,
        clock,
        keys=secrets.keys(),
        accounts=secrets.account_names(),
        tokens=tokens,
        limits=GatewayLimits(
            in_flight_max=settings.in_flight_max,
            body_read_timeout_s=settings.body_read_timeout_s,
        ),
    )
    for task in unfinished:
        begun = cloud.tasks.get(task)
        assert begun is not None, "a task that goes on is in the log"
        runner.schedule(task, delay_s=weather.effects.draw(begun.action))

    def save_state() -> None:
        if settings.state is None:
            raise InvalidInput("there is no file to save to: give --state FILE")
        save(settings.state, cloud, tokens)

    admin = Admin(
        cloud,
        runner,
        weather,
        clock,
        token=secrets.admin_token.get_secret_value(),
        relays_of=relays,
        save_state=save_state,
    )
    return World(
        cloud=cloud,
        runner=runner,
        gateway=gateway,
        metadata=Metadata(cloud),
        admin=admin,
        readiness=Readiness("api"),
        save_state=save_state,
    )


def _open_cloud(
    topology: Topology, settings: SimulatorSettings, tokens: ClientTokens[Answer], clock: Clock
) -> tuple[Cloud, list[TaskId]]:
    """As it was saved, with the tasks to go on with; else as the topology has it."""
    cloud = empty_cloud(topology, now=clock.now())
    if settings.state is not None and settings.state.exists():
        return cloud, load(settings.state, cloud, tokens)
    source = f"topology {settings.topology_file()}"
    populate(cloud, topology, now=clock.now(), source=source)
    return cloud, []


def build_app(world: World, settings: SimulatorSettings) -> web.Application:
    async def live(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(request: web.Request) -> web.Response:
        missing = world.readiness.missing()
        return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)

    app = web.Application(client_max_size=settings.body_bytes_max)
    app.add_routes(
        [
            web.post("/", world.gateway.handle),
            web.get("/metadata/{instance}/{path:.*}", world.metadata.handle),
            web.get("/livez", live),
            web.get("/readyz", ready),
            *world.admin.routes(),
        ]
    )
    return app
