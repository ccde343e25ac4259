"""One endpoint of a made-up service, for tests of clients and servers themselves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Literal

import nats
from nats.aio.client import Client

from shared.bus.client import BusClient
from shared.bus.server import RequestServer
from shared.clock import SystemClock
from shared.ids import ClusterName
from shared.messages.base import Endpoint, Message, Name, Request, ServiceName

CLUSTER: Final = ClusterName("default")


class Question(Request):
    type: Literal["berth.v1.question"] = "berth.v1.question"
    text: Name


class NodeQuestion(Request):
    type: Literal["berth.v1.node_question"] = "berth.v1.node_question"
    node: Name


class Answered(Message):
    type: Literal["berth.v1.answered"] = "berth.v1.answered"
    text: str


ASK: Final = Endpoint(
    name="question.ask",
    server=ServiceName.ALLOCATOR,
    request=Question,
    outcome=Answered,
    idempotency_key="text",
    on_timeout="ask again",
    timeout_s=5.0,
)
NODE_ASK: Final = Endpoint(
    name="node.<node>.ask",
    server=ServiceName.ALLOCATOR,
    request=NodeQuestion,
    outcome=Answered,
    idempotency_key="node",
    on_timeout="ask again",
    timeout_s=5.0,
)


def question(text: str = "why?", *, within_s: float = 5.0) -> Question:
    return Question(text=text, deadline=SystemClock().now() + timedelta(seconds=within_s))


class SlowAnswers:
    """A handler that answers when the test says so."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.taken = asyncio.Semaphore(0)  # released once per request taken

    async def answer(self, request: Question) -> Answered:
        self.taken.release()
        await self.may_answer.wait()
        return Answered(text=request.text)


async def answer_at_once(request: Question) -> Answered:
    return Answered(text=request.text)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    client = await nats.connect(url, allow_reconnect=False)
    try:
        yield client
    finally:
        await client.close()


def caller(client: Client) -> BusClient:
    return BusClient(client, cluster=CLUSTER, clock=SystemClock(), rng=random.Random(1))


def server(client: Client, *, in_flight_max: int = 64) -> RequestServer:
    return RequestServer(
        client, cluster=CLUSTER, clock=SystemClock(), in_flight_max=in_flight_max
    )
