"""`POST /`: the cloud's API. A call is authenticated, admitted, held up as long as the cloud
would, performed in one step, and its change scheduled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from services.vpc_simulator.api.actions import ACTIONS, VERSION, Action, Answer, Prepared
from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.api.signature import SignedRequest, authenticate
from services.vpc_simulator.api.writes import Call
from services.vpc_simulator.lies import told
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.enis import TaskId
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.tokens import ClientTokens
from services.vpc_simulator.runner import TaskRunner
from services.vpc_simulator.weather import Fault, FaultKind, Faults, Latencies, Rates
from shared.clock import Clock
from shared.telemetry.metrics import SIMULATOR_CALLS_TOTAL

log = logging.getLogger(__name__)

# Exactly this, without a charset: the official SDK reads errors only from this type.
_CONTENT_TYPE = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    in_flight_max: int
    body_read_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Everything about the cloud's behaviour that may be changed while it runs."""

    calls: Latencies
    effects: Latencies
    rates: Rates
    faults: Faults


class Unanswered(Exception):
    """The caller is to hear nothing: its connection is cut."""


class Gateway:
    def __init__(
        self,
        cloud: Cloud,
        runner: TaskRunner,
        weather: Weather,
        clock: Clock,
        *,
        keys: Mapping[str, str],
        accounts: Mapping[str, str],
        tokens: ClientTokens[Answer],
        limits: GatewayLimits,
    ) -> None:
        self._cloud = cloud
        self._runner = runner
        self._weather = weather
        self._clock = clock
        self._keys = keys  # secret keys by secret id
        self._accounts = accounts  # by secret id; rates and tokens are an account's
        self._tokens = tokens
        self._limits = limits
        self._in_flight = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        request_id = self._cloud.names.request()
        code = "ok"
        self._in_flight += 1
        try:
            answer = await self._serve(request, request_id)
        except ApiFailure as failure:
            answer, code = _refused(request_id, failure), failure.code
        except Unanswered:
            return _cut(request)
        except Exception:  # a bug: the caller is told so, the log has the why
            log.exception("call failed", extra={"request_id": request_id})
            code = Code.INTERNAL_ERROR
            answer = _refused(request_id, ApiFailure(code, "A bug."))
        finally:
            self._in_flight -= 1
        action = request.headers.get("X-TC-Action", "")
        SIMULATOR_CALLS_TOTAL.labels(action if action in ACTIONS else "unknown", code).inc()
        body = {"Response": {**answer.body, "RequestId": answer.request_id}}
        return web.Response(body=json.dumps(body).encode(), headers=_CONTENT_TYPE)

    async def _serve(self, request: web.Request, request_id: str) -> Answer:
        if self._in_flight > self._limits.in_flight_max:
            raise ApiFailure(Code.REQUEST_LIMIT_EXCEEDED, "Too many calls are being served.")
        body = await self._read(request)
        action, account = self._admit(request, body)
        fault = self._weather.faults.take(action.name)
        await self._suffer_before(fault)
        prepared = action.prepare(body, account)
        with self._tokens.serving(prepared.key):
            await asyncio.sleep(self._weather.calls.draw(action.name))
            call = Call(task=TaskId(request_id), account=account, now=self._clock.now())
            answer = self._perform(action, prepared, call, fault)
        log.debug(
            "call answered",
            extra={"action": action.name, "account": account, "request_id": request_id},
        )
        if fault is not None and fault.kind is FaultKind.TIMEOUT_AFTER:
            await asyncio.sleep(fault.hold_s)
            raise Unanswered
        return answer

    async def _read(self, request: web.Request) -> bytes:
        if request.headers.get("Content-Type") != "application/json":
            raise ApiFailure(Code.UNSUPPORTED_PROTOCOL, "Only application/json is taken.")
        try:
            async with asyncio.timeout(self._limits.body_read_timeout_s):
                return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise ApiFailure(
                Code.REQUEST_SIZE_LIMIT_EXCEEDED, "The body is too large."
            ) from error
        except TimeoutError as error:
            raise Unanswered from error

    def _admit(self, request: web.Request, body: bytes) -> tuple[Action, str]:
        """Who calls what, if they may: signature, action, version, region, rate."""
        signed = SignedRequest(
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers=request.headers,
            body=body,
        )
        caller = authenticate(signed, self._keys, now=self._clock.now())
        action = _action(request.headers, caller.service)
        region = _header(request.headers, "X-TC-Region")
        if region != self._cloud.region:
            raise ApiFailure(
                Code.UNSUPPORTED_REGION, f"The region `{region[:40]}` is not served."
            )
        now_s = self._clock.monotonic_s()
        account = self._accounts[caller.secret_id]
        if not self._weather.rates.allows(account, action.name, now_s=now_s):
            code = self._weather.rates.code(action.name)
            raise ApiFailure(code, f"{action.name} is called too often.")
        return action, account

    async def _suffer_before(self, fault: Fault | None) -> None:
        match fault:
            case Fault(kind=FaultKind.THROTTLE, code=code):
                raise ApiFailure(code, "The call is throttled.")
            case Fault(kind=FaultKind.REFUSE, code=code):
                raise ApiFailure(code, "This refusal was asked for.")
            case Fault(kind=FaultKind.INTERNAL_ERROR):
                raise ApiFailure(Code.INTERNAL_ERROR, "An internal error was asked for.")
            case Fault(kind=FaultKind.TIMEOUT_BEFORE, hold_s=hold_s):
                await asyncio.sleep(hold_s)
                raise Unanswered
            case Fault(kind=FaultKind.DELAY, hold_s=hold_s):
                await asyncio.sleep(hold_s)

    def _perform(
        self, action: Action, prepared: Prepared, call: Call, fault: Fault | None
    ) -> Answer:
        """One step without an await: nobody sees half of it."""
        cloud = told(self._cloud, fault, now=call.now) if action.only_looks else self._cloud
        answer = prepared.perform(cloud, call, self._tokens)
        is_repeat = answer.request_id != call.task
        if action.begins_task and not is_repeat:
            delay_s = self._weather.effects.draw(action.name)
            match fault:
                case Fault(kind=FaultKind.STUCK, hold_s=hold_s):
                    delay_s = hold_s
            fails = fault is not None and fault.kind is FaultKind.TASK_FAILED
            self._runner.schedule(call.task, delay_s=delay_s, fails=fails)
        return answer


def _action(headers: Mapping[str, str], service: str) -> Action:
    name = _header(headers, "X-TC-Action")
    version = _header(headers, "X-TC-Version")
    action = ACTIONS.get(name)
    if action is None or action.service != service:
        raise ApiFailure(
            Code.INVALID_ACTION, f"The action `{name[:60]}` is not one of `{service[:20]}`."
        )
    if version != VERSION:
        raise ApiFailure(Code.NO_SUCH_VERSION, f"The version `{version[:20]}` does not exist.")
    return action


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise ApiFailure(Code.MISSING_PARAMETER, f"The header {name} is missing.")
    return value


def _refused(request_id: str, failure: ApiFailure) -> Answer:
    error: Json = {"Code": failure.code, "Message": failure.message}
    return Answer(request_id=request_id, body={"Error": error})


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # goes nowhere: there is no connection left to write it to
