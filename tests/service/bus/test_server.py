"""The request server over a real bus: bounded, plain about bad input, lossless in a drain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from shared.bus.server import BODY_BYTES_MAX
from shared.errors import ErrorCode
from shared.messages.base import Rejected, Reply
from tests.support.bus_order import reached
from tests.support.questions import (
    ASK,
    CLUSTER,
    NODE_ASK,
    Answered,
    NodeQuestion,
    Question,
    SlowAnswers,
    answer_at_once,
    connected,
    question,
    server,
)
from tests.support.servers import NatsServer

PATIENCE_S = 5.0


@pytest.fixture
async def serving(nats_server: NatsServer) -> AsyncIterator[Client]:
    async with connected(nats_server.url) as client:
        yield client


@pytest.fixture
async def asking(nats_server: NatsServer) -> AsyncIterator[Client]:
    async with connected(nats_server.url) as client:
        yield client


async def ask_raw(client: Client, body: bytes, subject: str = "") -> Answered | Rejected:
    message = await client.request(subject or ASK.subject(CLUSTER), body, timeout=PATIENCE_S)
    return Reply[Answered].model_validate_json(message.data).outcome


async def test_a_request_is_answered(serving: Client, asking: Client) -> None:
    await server(serving).serve_all("allocator", "test", {ASK: answer_at_once})
    await reached(serving)

    outcome = await ask_raw(asking, question("why?").model_dump_json().encode())

    assert outcome == Answered(text="why?")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param(b"not json", "body", id="not-json"),
        pytest.param(b"{}", "deadline", id="nothing-in-it"),
        pytest.param(b'{"text": "", "deadline": "2030-01-01T00:00:00Z"}', "text", id="empty"),
        pytest.param(
            b'{"text": "x", "deadline": "2030-01-01T00:00:00"}', "deadline", id="naive"
        ),
    ],
)
async def test_a_malformed_request_is_told_which_field(
    serving: Client, asking: Client, body: bytes, named: str
) -> None:
    await server(serving).serve_all("allocator", "test", {ASK: answer_at_once})
    await reached(serving)

    outcome = await ask_raw(asking, body)

    assert isinstance(outcome, Rejected)
    assert outcome.code is ErrorCode.INVALID_INPUT
    assert outcome.detail.startswith(named)


async def test_a_body_beyond_the_limit_is_not_read(serving: Client, asking: Client) -> None:
    await server(serving).serve_all("allocator", "test", {ASK: answer_at_once})
    await reached(serving)

    outcome = await ask_raw(asking, b"x" * (BODY_BYTES_MAX + 1))

    assert isinstance(outcome, Rejected)
    assert f"at most {BODY_BYTES_MAX} bytes" in outcome.detail


async def test_a_late_request_is_not_worked_on(serving: Client, asking: Client) -> None:
    slow = SlowAnswers()
    await server(serving).serve_all("allocator", "test", {ASK: slow.answer})
    await reached(serving)

    outcome = await ask_raw(asking, question(within_s=-1).model_dump_json().encode())

    assert isinstance(outcome, Rejected)
    assert outcome.code is ErrorCode.UNAVAILABLE
    assert slow.taken.locked(), "no handler was called"


async def test_work_ends_at_the_callers_deadline(serving: Client, asking: Client) -> None:
    await server(serving).serve_all("allocator", "test", {ASK: SlowAnswers().answer})
    await reached(serving)

    outcome = await ask_raw(asking, question(within_s=0.2).model_dump_json().encode())

    assert isinstance(outcome, Rejected)
    assert outcome.code is ErrorCode.UNAVAILABLE


async def test_a_full_server_says_busy_at_once(serving: Client, asking: Client) -> None:
    slow = SlowAnswers()
    await server(serving, in_flight_max=2).serve_all("allocator", "test", {ASK: slow.answer})
    await reached(serving)
    body = question().model_dump_json().encode()
    taken = [asyncio.create_task(ask_raw(asking, body)) for _ in range(2)]
    await slow.taken.acquire()
    await slow.taken.acquire()

    refused = await ask_raw(asking, body)

    assert isinstance(refused, Rejected)
    assert refused.code is ErrorCode.BUSY
    slow.may_answer.set()
    assert await asyncio.gather(*taken) == [Answered(text="why?")] * 2


async def test_a_drain_answers_all_that_was_taken(serving: Client, asking: Client) -> None:
    slow = SlowAnswers()
    draining = server(serving)
    await draining.serve_all("allocator", "test", {ASK: slow.answer})
    await reached(serving)
    body = question().model_dump_json().encode()
    taken = [asyncio.create_task(ask_raw(asking, body)) for _ in range(20)]
    for _ in taken:
        await slow.taken.acquire()

    drain = asyncio.create_task(draining.drain(grace_s=PATIENCE_S))
    slow.may_answer.set()

    assert await drain == 0
    assert await asyncio.gather(*taken) == [Answered(text="why?")] * 20


async def test_a_drain_ends_although_a_request_does_not(
    serving: Client, asking: Client
) -> None:
    slow = SlowAnswers()
    draining = server(serving)
    await draining.serve_all("allocator", "test", {ASK: slow.answer})
    await reached(serving)
    await asking.publish(ASK.subject(CLUSTER), question().model_dump_json().encode())
    await slow.taken.acquire()

    cut_off = await draining.drain(grace_s=0.2)

    assert cut_off == 1


async def test_a_bug_is_answered_without_its_traceback(serving: Client, asking: Client) -> None:
    async def stumble(request: Question) -> Answered:
        raise KeyError("secret detail")

    await server(serving).serve_all("allocator", "test", {ASK: stumble})
    await reached(serving)

    outcome = await ask_raw(asking, question().model_dump_json().encode())

    assert isinstance(outcome, Rejected)
    assert outcome.code is ErrorCode.INTERNAL
    assert "secret" not in outcome.detail


async def test_the_node_of_a_message_is_the_node_of_its_subject(
    serving: Client, asking: Client
) -> None:
    async def answer(request: NodeQuestion) -> Answered:
        return Answered(text=request.node)

    await server(serving).serve_all("allocator", "test", {NODE_ASK: answer})
    await reached(serving)
    deadline = datetime.now(UTC) + timedelta(seconds=PATIENCE_S)
    body = NodeQuestion(node="10.0.0.2", deadline=deadline).model_dump_json().encode()

    honest = await ask_raw(asking, body, "berth.v1.default.node.10%2E0%2E0%2E2.ask")
    forged = await ask_raw(asking, body, "berth.v1.default.node.node-1.ask")

    assert honest == Answered(text="10.0.0.2")
    assert isinstance(forged, Rejected)
    assert forged.code is ErrorCode.NOT_AUTHORISED


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_a_server_is_found_by_discovery(
    serving: Client, asking: Client, verb: str
) -> None:
    await server(serving).serve_all("eni_manager", "what it does", {ASK: answer_at_once})
    await reached(serving)

    message = await asking.request(f"$SRV.{verb}.berth-eni-manager", b"", timeout=PATIENCE_S)

    found = json.loads(message.data)
    assert found["name"] == "berth-eni-manager"
    assert found["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
    if verb == "INFO":
        assert found["endpoints"][0]["subject"] == ASK.subject(CLUSTER)
