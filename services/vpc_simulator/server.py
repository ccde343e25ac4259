"""The cloud and its faces as one thing that can be served: the parts, put together."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from services.vpc_simulator.api.admin import Admin
from services.vpc_simulator.api.gateway import Gateway, GatewayLimits, Weather
from services.vpc_simulator.api.metadata import Metadata
from services.vpc_simulator.config import Secrets, SimulatorSettings
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.tokens import ClientTokens
from services.vpc_simulator.ports import Fabric
from services.vpc_simulator.runner import TaskRunner
from services.vpc_simulator.topology import (
    Topology,
    build_cloud,
    call_latencies,
    effect_latencies,
    rates,
)
from services.vpc_simulator.weather import Faults
from shared.clock import Clock
from shared.telemetry.health import Readiness


@dataclass(slots=True, kw_only=True)
class World:
    cloud: Cloud
    runner: TaskRunner
    gateway: Gateway
    metadata: Metadata
    admin: Admin
    readiness: Readiness


def build_world(
    topology: Topology,
    fabric: Fabric,
    settings: SimulatorSettings,
    secrets: Secrets,
    clock: Clock,
) -> World:
    source = f"topology {settings.topology_file()}"
    cloud = build_cloud(topology, now=clock.now(), source=source)
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
        tokens=ClientTokens(kept_max=settings.client_tokens_kept_max),
        limits=GatewayLimits(
            in_flight_max=settings.in_flight_max,
            body_read_timeout_s=settings.body_read_timeout_s,
        ),
    )
    admin = Admin(cloud, runner, weather, clock, token=secrets.admin_token.get_secret_value())
    return World(
        cloud=cloud,
        runner=runner,
        gateway=gateway,
        metadata=Metadata(cloud),
        admin=admin,
        readiness=Readiness("api"),
    )


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
