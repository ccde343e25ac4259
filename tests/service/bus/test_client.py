"""The bus client: it repeats the same bytes until an answer or the deadline, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.errors import Busy, ErrorCode, NotFound, Unavailable
from shared.messages.base import Rejected, Reply
from tests.support.bus_order import reached
from tests.support.questions import (
    ASK,
    CLUSTER,
    Answered,
    answer_at_once,
    caller,
    connected,
    question,
    server,
)
from tests.support.servers import NatsServer


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Client]:
    async with connected(nats_server.url) as client:
        yield client


async def answer_in_turn(client: Client, *answers: Answered | Rejected | None) -> list[bytes]:
    """Answer each request with the next of these, None with silence; returns what was heard."""
    left = list(answers)
    heard: list[bytes] = []

    async def answer(message: Msg) -> None:
        heard.append(message.data)
        outcome = left.pop(0)
        if outcome is not None:
            reply = Reply[Answered](outcome=outcome)
            await message.respond(reply.model_dump_json().encode())

    await client.subscribe(ASK.subject(CLUSTER), cb=answer)
    await reached(client)
    return heard


async def test_busy_is_asked_again_with_the_same_bytes(bus: Client) -> None:
    busy = Rejected(code=Busy.code, detail="the server is full")
    heard = await answer_in_turn(bus, busy, busy, Answered(text="at last"))

    answered = await caller(bus).call(ASK, question())

    assert answered.text == "at last"
    assert len(heard) == 3
    assert len(set(heard)) == 1, "a repeated request is the same request"


async def test_a_refusal_is_raised_as_what_it_is(bus: Client) -> None:
    no = Rejected(code=ErrorCode.NOT_FOUND, detail="no such lease")
    heard = await answer_in_turn(bus, no)

    with pytest.raises(NotFound, match="no such lease"):
        await caller(bus).call(ASK, question())

    assert len(heard) == 1, "what cannot succeed is not repeated"


async def test_nobody_serving_is_unavailable_at_the_deadline(bus: Client) -> None:
    began = asyncio.get_running_loop().time()

    with pytest.raises(Unavailable, match=r"nobody serves question\.ask"):
        await caller(bus).call(ASK, question(within_s=0.3))

    assert asyncio.get_running_loop().time() - began < 3


async def test_silence_is_unavailable_at_the_deadline(bus: Client) -> None:
    heard = await answer_in_turn(bus, None)

    with pytest.raises(Unavailable, match=r"no answer to question\.ask"):
        await caller(bus).call(ASK, question(within_s=0.3))

    assert len(heard) == 1


async def test_a_server_that_comes_late_is_still_found(bus: Client) -> None:
    waiting = asyncio.create_task(caller(bus).call(ASK, question()))
    await reached(bus)

    await server(bus).serve_all("allocator", "test", {ASK: answer_at_once})

    assert await waiting == Answered(text="why?")


async def test_replicas_that_serve_are_counted_and_none_are_none(bus: Client) -> None:
    assert await caller(bus).find_replicas() == {}

    for _ in range(2):
        await server(bus).serve_all("allocator", "test", {ASK: answer_at_once})

    found = await caller(bus).find_replicas()
    assert found == {"berth-allocator": 2}


async def test_a_deadline_that_has_passed_sends_nothing(bus: Client) -> None:
    heard = await answer_in_turn(bus, Answered(text="too late"))

    with pytest.raises(Unavailable):
        await caller(bus).call(ASK, question(within_s=-1))

    await reached(bus)
    assert heard == []


async def test_an_answer_of_unknown_shape_is_not_taken_for_one(bus: Client) -> None:
    async def mumble(message: Msg) -> None:
        await message.respond(b'{"outcome": {"type": "berth.v9.other"}}')

    await bus.subscribe(ASK.subject(CLUSTER), cb=mumble)
    await reached(bus)

    with pytest.raises(Unavailable, match="unknown shape"):
        await caller(bus).call(ASK, question(within_s=1))
