"""Questions asked together become one call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from services.eni_manager.domain.errands import (
    Urgency,
    check_right,
    under_right,
    urgency_now,
    urgent,
)
from services.eni_manager.gathering import Gathering
from shared.errors import Stale, Unavailable


class Asked:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.urgencies: list[Urgency] = []

    async def __call__(self, keys: Sequence[int]) -> Mapping[int, str]:
        self.batches.append(list(keys))
        self.urgencies.append(urgency_now())
        return {key: f"answer {key}" for key in keys if key < 100}


async def test_questions_of_one_moment_are_one_call_and_each_gets_its_own_answer() -> None:
    asked = Asked()
    gathering = Gathering(asked, most=100, wait_s=0.01)

    answers = await asyncio.gather(*(gathering.get(each) for each in (1, 2, 1, 200)))

    assert answers == ["answer 1", "answer 2", "answer 1", None]
    assert asked.batches == [[1, 2, 200]]


async def test_a_full_batch_does_not_wait() -> None:
    asked = Asked()
    gathering = Gathering(asked, most=2, wait_s=60)

    async with asyncio.timeout(5):
        await asyncio.gather(*(gathering.get(each) for each in range(4)))

    assert asked.batches == [[0, 1], [2, 3]]


async def test_a_batch_is_as_urgent_as_its_most_urgent_question() -> None:
    asked = Asked()
    gathering = Gathering(asked, most=100, wait_s=0.01)

    async def ask(key: int, urgency: Urgency) -> None:
        with urgent(urgency):
            await gathering.get(key)

    await asyncio.gather(ask(1, Urgency.CLEAN_UP), ask(2, Urgency.POD))

    assert asked.urgencies == [Urgency.POD]


async def test_a_failure_reaches_everybody_who_asked() -> None:
    async def away(keys: Sequence[int]) -> Mapping[int, str]:
        raise Unavailable("the cloud is away")

    gathering: Gathering[int, str] = Gathering(away, most=100, wait_s=0.01)

    ended = await asyncio.gather(*(gathering.get(it) for it in (1, 2)), return_exceptions=True)

    assert [type(each) for each in ended] == [Unavailable, Unavailable]


async def test_one_who_goes_away_does_not_take_the_answer_from_the_others() -> None:
    gathering = Gathering(Asked(), most=100, wait_s=0.01)
    gone = asyncio.create_task(gathering.get(1))
    stays = asyncio.create_task(gathering.get(1))
    await asyncio.sleep(0)

    gone.cancel()

    assert await stays == "answer 1"
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_batch_is_not_bound_to_the_right_of_one_who_asked() -> None:
    async def ask(keys: Sequence[int]) -> Mapping[int, str]:
        check_right()
        return dict.fromkeys(keys, "answered")

    def lost() -> None:
        raise Stale("the term has ended")

    gathering: Gathering[int, str] = Gathering(ask, most=100, wait_s=0.01)

    with under_right(lost):
        first = asyncio.create_task(gathering.get(1))
    second = gathering.get(2)

    assert [await first, await second] == ["answered", "answered"]
