"""`/admin/`: what the account's owner cannot see or do, behind a token of its own.

The whole state, latencies, faults, other people's addresses, instances that stop: for tests and
demonstrations.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address
from typing import Annotated, Final, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.vpc_simulator.api import relays
from services.vpc_simulator.api.actions import ACTIONS
from services.vpc_simulator.api.gateway import Weather
from services.vpc_simulator.api.state import state
from services.vpc_simulator.lies import LIES, as_of_now
from services.vpc_simulator.model import eni_operations, instance_operations
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.enis import TaskId
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.relay import RelaysOf
from services.vpc_simulator.runner import TaskRunner
from services.vpc_simulator.topology import LatenciesDocument
from services.vpc_simulator.weather import Fault, FaultKind
from shared.clock import Clock
from shared.errors import InvalidInput, Unavailable

D = TypeVar("D", bound=BaseModel)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

INSTANCE_TIMEOUT_S: Final = 30.0  # for an instance's ENIs to be taken out of the network


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LatencyDocument(Document):
    calls: LatenciesDocument = LatenciesDocument()
    effects: LatenciesDocument = LatenciesDocument()


class RatesDocument(Document):
    rates_per_s: dict[str, Annotated[float, Field(gt=0, le=1_000_000)]]
    account: str | None = None
    """All of them where none is named."""
    code: Literal[Code.REQUEST_LIMIT_EXCEEDED, Code.ACTION_LIMITED] = (
        Code.REQUEST_LIMIT_EXCEEDED
    )
    """What a call over the rate is told: the gateway's word, or the VPC module's."""


class FaultDocument(Document):
    action: str
    kind: FaultKind
    count: Annotated[int, Field(ge=1)] = 1
    hold_ms: Annotated[int, Field(ge=0, le=600_000)] = 30_000
    code: Code = Code.REQUEST_LIMIT_EXCEEDED


class ForeignAddressDocument(Document):
    subnet: str
    address: IPv4Address
    type: str = "CLB"


_INSTANCE_VERBS: Final = {
    "stop": instance_operations.stop,
    "start": instance_operations.start,
    "terminate": instance_operations.terminate,
}


class Admin:
    def __init__(
        self,
        cloud: Cloud,
        runner: TaskRunner,
        weather: Weather,
        clock: Clock,
        *,
        token: str,
        relays_of: RelaysOf,
        save_state: Callable[[], None],
    ) -> None:
        self._cloud = cloud
        self._runner = runner
        self._weather = weather
        self._clock = clock
        self._token = token
        self._relays = relays_of
        self._save_state = save_state

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/state", self._guarded(self._state)),
            web.post("/admin/latency", self._guarded(self._set_latency)),
            web.post("/admin/rates", self._guarded(self._set_rates)),
            web.post("/admin/faults", self._guarded(self._add_fault)),
            web.delete("/admin/faults", self._guarded(self._clear_faults)),
            web.post("/admin/foreign-addresses", self._guarded(self._take_foreign)),
            web.delete("/admin/enis/{eni}", self._guarded(self._lose_eni)),
            web.post("/admin/state/save", self._guarded(self._save)),
            web.get("/admin/instances/{instance}/relays", self._guarded(self._list_relays)),
            web.post(
                "/admin/instances/{instance}/relays/{relay}/{verb}",
                self._guarded(self._set_relay),
            ),
            web.post("/admin/instances/{instance}/{verb}", self._guarded(self._instance)),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        """Checks the token, and turns refusals into answers."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            offered = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not self._token or not hmac.compare_digest(
                offered.encode(), self._token.encode()
            ):
                return _error(401, "a bearer token is needed")
            try:
                return await handler(request)
            except InvalidInput as error:
                return _error(400, str(error))
            except Unavailable as error:
                return _error(503, str(error))
            except ApiFailure as failure:
                status = 404 if failure.code is Code.RESOURCE_NOT_FOUND else 409
                return _error(status, str(failure))

        return guarded

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(state(self._cloud))

    async def _set_latency(self, request: web.Request) -> web.Response:
        asked = await _read(LatencyDocument, request)
        for each in (asked.calls, asked.effects):
            for action in each.actions:
                _check_action(action)
        for latencies, document in (
            (self._weather.calls, asked.calls),
            (self._weather.effects, asked.effects),
        ):
            default = document.default.latency() if document.default else None
            latencies.set(default, document.of())
        return web.json_response({})

    async def _set_rates(self, request: web.Request) -> web.Response:
        asked = await _read(RatesDocument, request)
        for action in asked.rates_per_s:
            _check_action(action)
        self._weather.rates.set(asked.rates_per_s, account=asked.account, code=asked.code)
        return web.json_response({})

    async def _add_fault(self, request: web.Request) -> web.Response:
        asked = await _read(FaultDocument, request)
        _check_action(asked.action)
        if asked.kind in LIES and not ACTIONS[asked.action].only_looks:
            looks = ", ".join(sorted(each.name for each in ACTIONS.values() if each.only_looks))
            raise InvalidInput(
                f"action: {asked.action} cannot be {asked.kind}; allowed: {looks}"
            )
        fault = Fault(
            kind=asked.kind,
            hold_s=asked.hold_ms / 1000,
            code=asked.code,
            earlier=as_of_now(self._cloud) if asked.kind is FaultKind.STALE else None,
        )
        waiting = self._weather.faults.add(asked.action, fault, count=asked.count)
        return web.json_response({"waiting": waiting})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._weather.faults.clear()
        return web.json_response({})

    async def _take_foreign(self, request: web.Request) -> web.Response:
        asked = await _read(ForeignAddressDocument, request)
        self._cloud.take_foreign(
            asked.subnet, asked.address, kind=asked.type, now=self._clock.now()
        )
        return web.json_response({})

    async def _lose_eni(self, request: web.Request) -> web.Response:
        """Answers when it is gone, the network included."""
        task = TaskId(self._cloud.names.request())
        eni_operations.lose_eni(
            self._cloud, request.match_info["eni"], task=task, now=self._clock.now()
        )
        async with asyncio.timeout(INSTANCE_TIMEOUT_S):
            await self._runner.schedule(task, delay_s=0)
        return web.json_response({"task": task})

    async def _save(self, request: web.Request) -> web.Response:
        self._save_state()
        return web.json_response({})

    async def _list_relays(self, request: web.Request) -> web.Response:
        instance = self._cloud.instance(request.match_info["instance"])
        return web.json_response(
            {"relays": [relays.shown(each) for each in self._relays(instance.id)]}
        )

    async def _set_relay(self, request: web.Request) -> web.Response:
        """A relay is named by ADDRESS:PORT as it listens, or `all` of the instance's."""
        instance = self._cloud.instance(request.match_info["instance"])
        chosen = relays.chosen(self._relays(instance.id), request.match_info["relay"])
        asked = await _read(relays.RelayDocument, request)
        await relays.treat(chosen, request.match_info["verb"], asked)
        return web.json_response({"relays": [relays.shown(each) for each in chosen]})

    async def _instance(self, request: web.Request) -> web.Response:
        """Answers when it is done, the network included."""
        verb = request.match_info["verb"]
        if verb not in _INSTANCE_VERBS:
            raise InvalidInput.of("verb", verb, " or ".join(_INSTANCE_VERBS))
        task = TaskId(self._cloud.names.request())
        _INSTANCE_VERBS[verb](
            self._cloud, request.match_info["instance"], task=task, now=self._clock.now()
        )
        async with asyncio.timeout(INSTANCE_TIMEOUT_S):
            await self._runner.schedule(task, delay_s=0)
        return web.json_response({"task": task})


async def _read(document: type[D], request: web.Request) -> D:
    try:
        return document.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in detail["loc"]) or "body"
        allowed = detail["msg"].removeprefix("Input should be ")
        raise InvalidInput.of(place, detail["input"], allowed) from error


def _check_action(action: str) -> None:
    if action not in ACTIONS:
        raise InvalidInput.of("action", action, ", ".join(ACTIONS))


def _error(status: int, message: str) -> web.Response:
    body: Mapping[str, str] = {"error": message}
    return web.json_response(body, status=status)
