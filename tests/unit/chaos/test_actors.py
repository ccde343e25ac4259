"""No actor of a workload goes away without a word."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.runtime import to_its_end


async def test_an_actor_whose_question_was_cancelled_is_heard_of() -> None:
    async def actor() -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.cancel()  # as an agent does that dies
        await answer

    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as group:
            group.create_task(to_its_end(actor()))

    assert [str(each) for each in raised.value.exceptions] == [
        "an actor ended before it was told to"
    ]


async def test_an_actor_that_is_cancelled_itself_ends_in_silence() -> None:
    async def actor() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(to_its_end(actor()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
