"""A server that is bounded and loses nothing when it drains.

The bus runs the callbacks of one subscription one after another, so a callback only hands
over: tasks are tracked, a full server answers "busy" at once, and a drain first stops taking,
then finishes what was taken. Discoverable servers answer ``$SRV.PING/INFO/STATS``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

import nats.micro
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.request import Request as MicroRequest
from nats.micro.service import Service
from pydantic import BaseModel, ValidationError

from shared.clock import Clock
from shared.errors import BerthError, Busy, ErrorCode, InvalidInput, NotAuthorised, Unavailable
from shared.ids import ClusterName, NodeName, decode_token, encode_token
from shared.messages.base import (
    DETAIL_CHARACTERS_MAX,
    Endpoint,
    Message,
    Rejected,
    Request,
)
from shared.runtime.lifecycle import version
from shared.telemetry.metrics import BUS_REQUEST_SECONDS, BUS_REQUESTS_IN_FLIGHT

log = logging.getLogger(__name__)

Req = TypeVar("Req", bound=Request)
Out = TypeVar("Out", bound=Message)
Handler = Callable[[Req], Awaitable[Out]]

BODY_BYTES_MAX: Final = 512 * 1024


class _Incoming(Protocol):
    """A request as nats-py hands it over, by a subscription or by its services API."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    async def respond(self, data: bytes) -> None: ...


class RequestServer:
    """Serves endpoints of one cluster in its service's queue group."""

    def __init__(
        self, nats: Client, *, cluster: ClusterName, clock: Clock, in_flight_max: int
    ) -> None:
        self._nats = nats
        self._cluster = cluster
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._running: set[asyncio.Task[None]] = set()
        self._subscriptions: list[Subscription] = []
        self._service: Service | None = None

    async def serve_all(
        self,
        service: str,
        description: str,
        handlers: dict[Endpoint[Any, Any], Handler[Any, Any]],
    ) -> None:
        """Serve for every node, in the service's queue group, visible to discovery."""
        self._service = await nats.micro.add_service(
            self._nats,
            name=f"berth-{service}".replace("_", "-"),
            version=_semantic(version()),
            description=description,
            queue_group=service,
        )
        for endpoint, handler in handlers.items():
            accept = self._acceptor(endpoint, handler)

            async def accept_micro(
                request: MicroRequest, accept: Callable[[Any], Awaitable[None]] = accept
            ) -> None:
                await accept(request)

            await self._service.add_endpoint(
                name=endpoint.name.replace(".", "-").replace("<node>", "any"),
                subject=endpoint.pattern(self._cluster),
                handler=accept_micro,
            )

    async def serve_node(
        self, node: NodeName, handlers: dict[Endpoint[Any, Any], Handler[Any, Any]]
    ) -> None:
        """Serve what is said to one node: its agent may subscribe to nothing else."""
        for endpoint, handler in handlers.items():
            self._subscriptions.append(
                await self._nats.subscribe(
                    endpoint.subject(self._cluster, node),
                    cb=self._acceptor(endpoint, handler),
                )
            )

    def _acceptor(
        self, endpoint: Endpoint[Req, Out], handler: Handler[Req, Out]
    ) -> Callable[[Any], Awaitable[None]]:
        async def accept(incoming: Msg | MicroRequest) -> None:
            if len(self._running) >= self._in_flight_max:
                BUS_REQUEST_SECONDS.labels(endpoint.name, Busy.code).observe(0.0)
                await _respond(incoming, Rejected(code=Busy.code, detail="the server is full"))
                return
            task = asyncio.create_task(
                self._answer(endpoint, handler, incoming), name=endpoint.name
            )
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        return accept

    async def _answer(
        self, endpoint: Endpoint[Req, Out], handler: Handler[Req, Out], incoming: _Incoming
    ) -> None:
        began_s = self._clock.monotonic_s()
        outcome_name = "ok"
        with BUS_REQUESTS_IN_FLIGHT.track_inprogress():
            try:
                request = self._parse(endpoint, incoming)
                outcome: Message = await self._handle(handler, request)
            except BerthError as error:
                outcome = _rejected(error.code, str(error))
                outcome_name = error.code
            except Exception:  # a bug: logged once with its traceback, answered without it
                log.exception("request failed", extra={"endpoint": endpoint.name})
                outcome = _rejected(ErrorCode.INTERNAL, "a bug in the server; see its log")
                outcome_name = ErrorCode.INTERNAL
            await _respond(incoming, outcome)
        BUS_REQUEST_SECONDS.labels(endpoint.name, outcome_name).observe(
            self._clock.monotonic_s() - began_s
        )

    async def _handle(self, handler: Handler[Req, Out], request: Req) -> Out:
        left_s = (request.deadline - self._clock.now()).total_seconds()
        if left_s <= 0:
            raise Unavailable("the deadline passed before the request was read")
        try:
            async with asyncio.timeout(left_s):
                return await handler(request)
        except TimeoutError:
            raise Unavailable(
                f"not done within the caller's deadline ({left_s:.1f} s)"
            ) from None

    def _parse(self, endpoint: Endpoint[Req, Out], incoming: _Incoming) -> Req:
        if len(incoming.data) > BODY_BYTES_MAX:
            raise InvalidInput.of(
                "body", f"{len(incoming.data)} bytes", f"at most {BODY_BYTES_MAX} bytes"
            )
        try:
            request = endpoint.request.model_validate_json(incoming.data)
        except ValidationError as error:
            raise InvalidInput(first_problem(error)) from error
        if "<node>" in endpoint.name:
            _check_sender(endpoint, self._cluster, incoming.subject, request)
        return request

    async def drain(self, *, grace_s: float) -> int:
        """Stop taking requests, finish those taken; returns how many had to be cut off."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        if self._service is not None:
            await _bounded(self._service.stop(), deadline)
        for subscription in self._subscriptions:
            await _bounded(subscription.drain(), deadline)
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, deadline - loop.time()))
        cut_off = list(self._running)
        for task in cut_off:
            task.cancel()
        await asyncio.gather(*cut_off, return_exceptions=True)
        if cut_off:
            log.warning("requests cut off by the drain", extra={"count": len(cut_off)})
        return len(cut_off)


def first_problem(error: ValidationError) -> str:
    """Field, value and what is allowed, of the first field that is wrong."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"]) or "body"
    value = repr(problem["input"])[:120]
    return f"{field}: {value} is not allowed: {problem['msg']}"[:DETAIL_CHARACTERS_MAX]


def _check_sender(
    endpoint: Endpoint[Any, Any], cluster: ClusterName, subject: str, request: BaseModel
) -> None:
    # The bus lets an agent publish only below its own node's token, so the subject is proof.
    sender = subject.split(".")[endpoint.pattern(cluster).split(".").index("*")]
    claimed = str(getattr(request, "node", ""))
    if encode_token(claimed or "-") != sender:
        raise NotAuthorised(
            f"node: {claimed!r} is not allowed in a message of node {decode_token(sender)!r}"
        )


def _rejected(code: ErrorCode, detail: str) -> Rejected:
    return Rejected(code=code, detail=detail[:DETAIL_CHARACTERS_MAX])


async def _respond(incoming: _Incoming, outcome: Message) -> None:
    body = b'{"outcome":%s}' % outcome.model_dump_json().encode()  # the shape of Reply
    try:
        await incoming.respond(body)
    except Exception as error:
        # Without a reply subject or a bus there is nobody to tell: the caller asks again.
        log.warning("answer not sent", extra={"error": str(error)})


async def _bounded(work: Awaitable[Any], deadline: float) -> None:
    # A subscription whose callback was cancelled never finishes draining.
    try:
        async with asyncio.timeout_at(deadline):
            await work
    except TimeoutError:
        log.warning("a subscription did not drain in time")


def _semantic(text: str) -> str:
    # The services API takes semantic versions only.
    return text if text[:1].isdigit() and text.count(".") >= 2 else "0.0.0"
